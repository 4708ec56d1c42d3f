package dns

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// realWorld is the world with a comune's zone as most tests need it.
func realWorld(t *testing.T, secondary bool) *world {
	servers(t, "named", "nsd")
	w := newWorld(t)
	w.zones[zone] = zoneText(zone, "@SERVERS@", "www A 198.51.100.9")
	w.start(secondary)
	return w
}

func classified(t *testing.T, b Backend, want Desired) Verdict {
	t.Helper()
	return Classify(want, b.Observe(t.Context(), want.Domain))
}

func TestRoadOnRealServers(t *testing.T) {
	w := realWorld(t, true)
	ctx, b := t.Context(), w.backend("site-a")
	step := func(what string, state State) Verdict {
		t.Helper()
		var v Verdict
		w.eventually(what, func() bool { v = classified(t, b, want()); return v.State == state || t.Failed() })
		return v
	}
	free := step("a free name at BIND and NSD", None)
	if got := b.Observe(ctx, domain); len(got.Views) != 2 || got.Zone != zone || len(got.ParentNS) != 2 || got.Primary != "ns1.gestore.it." {
		t.Fatalf("both servers, their zone and its primary: %+v", got)
	}
	if err := Carry(ctx, b, *Plan(free, want(), Policy{Mode: UpdateMode}).Do); err != nil {
		t.Fatal(err)
	}
	held := step("claimed, and at both servers", Ours)
	if d := Plan(held, want(), Policy{Mode: UpdateMode}); d.Do != nil || d.Outcome != Ready {
		t.Fatalf("a held set needs no write: %+v", d)
	}
	if err := b.Claim(ctx, *Plan(free, want(), Policy{Mode: UpdateMode}).Do); !errors.Is(err, ErrChanged) {
		t.Fatalf("a second claim: %v", err)
	}
	w.third(zone, func(m *miekg.Msg) { m.Remove(mxRecords(domain, oursSet[1:], 0)) })
	drifted := step("one record taken away", Drifted)
	if err := Carry(ctx, b, *Plan(drifted, want(), Policy{Mode: UpdateMode}).Do); err != nil {
		t.Fatal(err)
	}
	step("restored", Ours)
	w.third(zone, func(m *miekg.Msg) { m.RemoveRRset([]miekg.RR{&miekg.MX{Hdr: header(domain, miekg.TypeMX, 0)}}) })
	missing := step("the set taken away", Missing)
	if err := Carry(ctx, b, *Plan(missing, want(), Policy{Mode: UpdateMode}).Do); err != nil {
		t.Fatal(err)
	}
	step("revived", Ours)
	w.third(zone, func(m *miekg.Msg) { m.Insert(mxRecords(domain, foreignSet, 3600)) })
	step("a foreign record beside ours", Hybrid)
	w.set(zone, domain, foreignSet)
	foreign := step("a foreign set", Foreign)
	approval := Takeover{Expected: foreignSet, ApprovedBy: "Segretario comunale, prot. 1234/2026"}
	if err := Carry(ctx, b, *Plan(foreign, want(), Policy{Mode: UpdateMode, Takeover: approval}).Do); err != nil {
		t.Fatal(err)
	}
	step("taken over as approved", Ours)
}

// A domain that is given up: our own set under our own mark goes, with both sites' consent; anything else stays.
func TestReleaseTakesOnlyWhatIsOurs(t *testing.T) {
	w := realWorld(t, false)
	b := w.backend("site-a")
	mine := siteA.Text(oursSet)
	for name, c := range map[string]struct {
		set     Set
		mark    string
		refuses bool
		reason  string
	}{
		"ours under our mark":                 {set: oursSet, mark: mine, reason: "Release"},
		"ours under our mark, no consent":     {set: oursSet, mark: mine, refuses: true, reason: "PeerMustAgree"},
		"ours under nobody's mark":            {set: oursSet, reason: "RecordsLeft"},
		"ours and another's":                  {set: NewSet(oursSet[0], foreignSet[0]), mark: mine, reason: "RecordsLeft"},
		"another provider's under our mark":   {set: foreignSet, mark: mine, reason: "RecordsLeft"},
		"our set, incomplete, under our mark": {set: oursSet[:1], mark: mine, reason: "RecordsLeft"},
	} {
		t.Run(name, func(t *testing.T) {
			w.third(zone, func(m *miekg.Msg) {
				m.RemoveName([]miekg.RR{&miekg.ANY{Hdr: header(domain, miekg.TypeANY, 0)}, &miekg.ANY{Hdr: header(OwnerName(domain), miekg.TypeANY, 0)}})
				m.Insert(append(mxRecords(domain, c.set, 3600), txtRecords(OwnerName(domain), c.mark, 3600)...))
			})
			d := Release(classified(t, b, want()), want(), !c.refuses)
			if d.Reason != c.reason || (d.Do != nil) != (c.reason == "Release") {
				t.Fatalf("got %+v", d)
			}
			if d.Do != nil {
				if err := Carry(t.Context(), b, *d.Do); err != nil {
					t.Fatal(err)
				}
				c.set, c.mark = nil, ""
			}
			if set, owners := w.sets(domain); !set.Equal(c.set) || strings.Join(owners, "") != c.mark {
				t.Errorf("left %s %v", set, owners)
			}
		})
	}
	unmarked := Change{Domain: domain, Zone: zone, Was: Records{MX: oursSet}, Kind: Releasing}
	if err := b.Swap(t.Context(), unmarked); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a release without a mark: %v", err)
	}
}

// Between an update and the transfer to the secondary nothing is known, and nothing is written.
func TestTransferUnderWay(t *testing.T) {
	servers(t, "named", "nsd")
	w := newWorld(t)
	w.quiet = true
	w.zones[zone] = zoneText(zone, "@SERVERS@")
	w.start(true)
	w.set(zone, domain, foreignSet)
	b := w.backend("site-a")
	v := classified(t, b, want())
	if d := Plan(v, want(), Policy{Mode: UpdateMode}); v.State != Unverifiable || !strings.Contains(v.Sentence, "zone transfer") || !v.Foreign || d.Do != nil {
		t.Fatalf("the primary has a foreign set, the secondary not yet: %+v, %+v", v, d)
	}
	notify := new(miekg.Msg)
	notify.SetNotify(zone)
	if _, _, err := new(miekg.Client).Exchange(notify, w.addresses[secondaryAddress]); err != nil {
		t.Fatal(err)
	}
	w.eventually("the secondary has it too", func() bool { return classified(t, b, want()).State == Foreign })
}

// A delegated domain whose servers hold the parent zone too: there is no referral, and the cut is found all the same.
func TestZoneOfItsOwnAtTheSameServers(t *testing.T) {
	servers(t, "named", "nsd")
	w := newWorld(t)
	w.zones[zone] = zoneText(zone, "@SERVERS@", "pec NS ns1.gestore.it.", "pec NS ns2.gestore.it.")
	w.zones[domain] = zoneText(domain, "@SERVERS@")
	w.start(true)
	seen := w.backend("site-a").Observe(t.Context(), domain)
	v := Classify(want(), seen)
	if seen.Zone != domain || len(seen.Views) != 2 || len(seen.ChildNS) != 2 || len(seen.ParentNS) != 0 || v.State != None {
		t.Errorf("%s: %+v", v.Sentence, seen)
	}
	text := Request(Ask{Verdict: v, Want: want(), Deadline: noon})
	if !strings.Contains(text.English, "@ 3600 IN MX 10 mx-a.gestore.it.") || !strings.Contains(text.English, "Case 2") {
		t.Error(text.English)
	}
}

// Each prerequisite on its own: something happens between the look and the write, and the write leaves no trace.
func TestWhatChangedSinceStopsTheWrite(t *testing.T) {
	w := realWorld(t, false)
	b := w.backend("site-a")
	mine := siteA.Text(oursSet)
	newer := Owner{siteA.Operator, siteA.Object, 2}.Text(oursSet)
	place := func(set Set, owner string, extra ...miekg.RR) {
		w.third(zone, func(m *miekg.Msg) {
			m.RemoveName([]miekg.RR{&miekg.ANY{Hdr: header(domain, miekg.TypeANY, 0)}, &miekg.ANY{Hdr: header(OwnerName(domain), miekg.TypeANY, 0)}})
			m.Insert(append(append(mxRecords(domain, set, 3600), txtRecords(OwnerName(domain), owner, 3600)...), extra...))
		})
	}
	alias := &miekg.CNAME{Hdr: header(domain, miekg.TypeCNAME, 60), Target: "www." + zone}
	for name, c := range map[string]struct {
		seen, found   Set
		owner, marked string
		extra         []miekg.RR
	}{
		"a free name gets a foreign set":              {found: foreignSet},
		"a free name gets somebody's mark":            {marked: newer},
		"a free name becomes an alias":                {extra: []miekg.RR{alias}},
		"a drifted set gets a foreign record":         {seen: oursSet[:1], owner: mine, found: NewSet(oursSet[0], foreignSet[0]), marked: mine},
		"a drifted set is removed":                    {seen: oursSet[:1], owner: mine, marked: mine},
		"a drifted set is of a later epoch meanwhile": {seen: oursSet[:1], owner: mine, found: oursSet[:1], marked: newer},
		"a drifted set loses its mark":                {seen: oursSet[:1], owner: mine, found: oursSet[:1]},
		"a missing set comes back as a foreign one":   {owner: mine, found: foreignSet, marked: mine},
	} {
		t.Run(name, func(t *testing.T) {
			place(c.seen, c.owner)
			do := Plan(classified(t, b, want()), want(), Policy{Mode: UpdateMode}).Do
			place(c.found, c.marked, c.extra...)
			if err := Carry(t.Context(), b, *do); !errors.Is(err, ErrChanged) {
				t.Errorf("got %v", err)
			}
			set, owners := w.sets(domain)
			if !set.Equal(c.found) || strings.Join(owners, "") != c.marked {
				t.Errorf("left %s %v", set, owners)
			}
		})
	}
}

func TestOldEpochFindsItsPrerequisiteStale(t *testing.T) {
	w := realWorld(t, false)
	ctx, a, b := t.Context(), w.backend("site-a"), w.backend("site-b")
	if err := Carry(ctx, a, *Plan(classified(t, a, want()), want(), Policy{Mode: UpdateMode}).Do); err != nil {
		t.Fatal(err)
	}
	w.third(zone, func(m *miekg.Msg) { m.Remove(mxRecords(domain, oursSet[1:], 0)) })
	old := Plan(classified(t, a, want()), want(), Policy{Mode: UpdateMode}).Do
	later := want()
	later.Owner.Epoch = 2
	if err := Carry(ctx, b, *Plan(classified(t, b, later), later, Policy{Mode: UpdateMode}).Do); err != nil {
		t.Fatal(err)
	}
	if err := Carry(ctx, a, *old); !errors.Is(err, ErrChanged) {
		t.Fatalf("site a with the old epoch: %v", err)
	}
	if v := classified(t, a, want()); v.State != Conflict {
		t.Fatalf("site a sees %s: %s", v.State, v.Sentence)
	}
}

func TestRefusalsAreNamed(t *testing.T) {
	w := realWorld(t, false)
	change := func() *Change {
		b := w.backend("site-a")
		return Plan(classified(t, b, want()), want(), Policy{Mode: UpdateMode}).Do
	}()
	stranger, err := NewKey("site-a", "hmac-sha256", []byte("canary-secret-canary-secret-1234"))
	if err != nil {
		t.Fatal(err)
	}
	unknown, _ := NewKey("nobody", "hmac-sha512", []byte("canary-secret-canary-secret-1234"))
	for name, c := range map[string]struct {
		key    Key
		clock  time.Duration
		change func(*Change)
		want   error
		says   string
	}{
		"a clock ten minutes behind":                {key: w.keys["site-a"], clock: -10 * time.Minute, want: ErrClock, says: "10m0"},
		"a clock ten minutes ahead":                 {key: w.keys["site-a"], clock: 10 * time.Minute, want: ErrClock, says: "NTP"},
		"a key without rights":                      {key: w.keys["powerless"], want: ErrRights, says: "update-policy"},
		"the right key's name with another secret":  {key: stranger, want: ErrKey, says: "BADSIG"},
		"a key that the server does not have":       {key: unknown, want: ErrKey, says: "BADKEY"},
		"a name outside the grant":                  {key: w.keys["site-a"], change: func(c *Change) { c.Domain = "www2." + zone }, want: ErrRights},
		"a zone that the server does not have":      {key: w.keys["site-a"], change: func(c *Change) { c.Domain, c.Zone = "pec.altrove.it.", "altrove.it." }, want: ErrZone},
		"a set without MX never leaves this room":   {key: w.keys["site-a"], change: func(c *Change) { c.Will.MX = nil }, want: ErrUnsafe},
		"a set without owner never leaves the room": {key: w.keys["site-a"], change: func(c *Change) { c.Will.Owner = "" }, want: ErrUnsafe},
		"a free name is claimed, never swapped":     {key: w.keys["site-a"], change: func(c *Change) { c.Was.MX = foreignSet }, want: ErrUnsafe},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.backend("site-a")
			b.Key = c.key
			b.Observer.Now = func() time.Time { return time.Now().Add(c.clock) }
			mine := *change
			if c.change != nil {
				c.change(&mine)
			}
			err := b.Claim(t.Context(), mine)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.says)
			}
			if text := fmt.Sprintf("%v %+v %#v %s", err, b.Key, b.Key, b.Key); strings.Contains(text, b.Key.secret) || strings.Contains(text, "canary") {
				t.Error("the secret is in the error or in the key's text")
			}
		})
	}
	if set, owners := w.sets(domain); len(set)+len(owners) > 0 {
		t.Errorf("something was written: %s %v", set, owners)
	}
}

func TestWeakKeysAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		key, algorithm string
		secret         int
	}{
		"HMAC-MD5":       {"k", "hmac-md5.sig-alg.reg.int", 32},
		"HMAC-SHA1":      {"k", "hmac-sha1", 32},
		"a short secret": {"k", "hmac-sha256", 8},
		"no name":        {"", "hmac-sha256", 32},
	} {
		if _, err := NewKey(c.key, c.algorithm, make([]byte, c.secret)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := NewKey("k", "HMAC-SHA512", make([]byte, 32)); err != nil {
		t.Errorf("upper case, no final dot: %v", err)
	}
}

// The page shows administrators the policy that these tests run under.
func TestDocsShowThePolicyThatIsTested(t *testing.T) {
	page, err := os.ReadFile("../../docs/dns.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitAfterSeq(policy("pec-site-a.", domain), "; ") {
		if !strings.Contains(string(page), strings.TrimSpace(line)) {
			t.Errorf("docs/dns.md does not show %q", line)
		}
	}
}
