package dns

import (
	"slices"
	"strings"
	"testing"
)

// answers makes an observation of one to three servers from bytes; every byte chooses one thing, so that the fuzzer can mix sets,
// marks, aliases, serials and faults in any way.
func answers(data []byte) Observation {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	pool := []MX{oursSet[0], oursSet[1], foreignSet[0], {0, "."}, {10, "mx-old.gestore.it."}, {20, "mx-a.gestore.it."}, {10, "mx-a.gestore.it.evil.example."}}
	other := Owner{Operator: "set-2", Object: siteA.Object, Epoch: 1}
	faultPool := []Fault{"", "", "", "", Timeout, Unreachable, Refused, ServFail, Lame, Malformed, NoAddress, TooMuch}
	var template View
	one := func() View {
		var records []MX
		for i, mask := 0, next(); i < len(pool); i++ {
			if mask&(1<<i) != 0 {
				records = append(records, pool[i])
			}
		}
		v := View{Server: "ns.", Address: "192.0.2.9", MX: NewSet(records...), TTL: uint32(next()), Serial: uint32(next())}
		marks := []string{"", siteA.Text(oursSet), siteA.Text(v.MX), other.Text(v.MX), Owner{siteA.Operator, siteA.Object, 9}.Text(v.MX), "v=1;op=set-1", strings.Repeat(";", next())}
		if mark := marks[next()%len(marks)]; mark != "" {
			v.Owner = append(v.Owner, mark)
		}
		if next()%8 == 7 {
			v.Owner = append(v.Owner, "second")
		}
		if next()%8 == 7 {
			v.Alias = "it is a CNAME"
		}
		v.Fault = faultPool[next()%len(faultPool)]
		return v
	}
	o := recorded()
	servers := 1 + next()%3
	template = one()
	for range servers {
		if next()%4 == 3 {
			o.Views = append(o.Views, one())
			continue
		}
		o.Views = append(o.Views, template)
	}
	if next()%16 == 15 {
		o.Fault = Timeout
	}
	return o
}

// FuzzNoWriteUnlessItIsSafe holds the invariant: no write unless the state is None, Ours, Drifted or Missing, or the exact set was
// approved; every write expects exactly what every server showed; and no request holds a record line where any server shows a
// set that is not ours and not approved.
func FuzzNoWriteUnlessItIsSafe(f *testing.F) {
	for _, seed := range []string{"", "\x00\x00", "\x01\x03\x10\x01\x00\x01", "\x00\x04\x10\x01", "\x02\x07\x10\x01\x00\x02", "\x01\x00\x10\x01\x00\x01", "\x02\x03\x10\x01\x00\x00\x00\x00\x00\x03\x04"} {
		f.Add([]byte(seed), byte(0), "prot. 1")
	}
	f.Add([]byte("\x00\x04\x10\x01"), byte(4), "prot. 1")
	f.Fuzz(func(t *testing.T, data []byte, expected byte, approvedBy string) {
		seen := answers(data)
		takeover := Takeover{ApprovedBy: approvedBy}
		if expected != 0 {
			takeover.Expected = answers([]byte{0, expected}).Views[0].MX
		}
		v := Classify(want(), seen)
		d := Plan(v, want(), Policy{Mode: UpdateMode, Takeover: takeover})
		approved := takeover.permits(v.Seen.MX)
		if d.Do != nil {
			if !slices.Contains([]State{None, Ours, Drifted, Missing}, v.State) && !approved {
				t.Fatalf("writes in state %s", v.State)
			}
			if err := d.Do.safe(); err != nil {
				t.Fatal(err)
			}
			if d.Do.message().Answer == nil {
				t.Fatal("a write without prerequisites")
			}
			for _, view := range seen.Views {
				if view.Fault != "" || !view.MX.Equal(d.Do.Was.MX) || strings.Join(view.Owner, "") != d.Do.Was.Owner || view.Alias != "" {
					t.Fatalf("expects %+v, and a server showed %+v", d.Do.Was, view)
				}
			}
			for _, mx := range d.Do.Was.MX {
				wrote := siteA.Text(d.Do.Was.MX) == d.Do.Was.Owner
				if !oursSet.hosts(mx.Host) && !wrote && !approved {
					t.Fatalf("would take %s away", mx)
				}
			}
		}
		if Plan(v, want(), Policy{Mode: VerifyOnly, Takeover: takeover}).Do != nil || Plan(v, want(), Policy{Mode: Off, Takeover: takeover}).Do != nil {
			t.Fatal("writes in a mode that never does")
		}
		if do := Release(v, want(), true).Do; do != nil && (!do.Was.MX.Equal(oursSet) || !v.Owned || do.safe() != nil) {
			t.Fatalf("would release %+v in state %s", do.Was, v.State)
		}
		text := Request(Ask{Verdict: v, Want: want(), Takeover: takeover, Deadline: noon})
		if v.Foreign && (!approved || !v.State.Definite()) && recordLine(text) {
			t.Fatalf("state %s holds a record line:\n%s", v.State, text.Italian)
		}
	})
}

// recordLine says that a text holds something that could be pasted into a zone.
func recordLine(text Text) bool {
	return strings.Contains(text.Italian+text.English, "IN MX") || strings.Contains(text.Italian+text.English, "update ")
}
