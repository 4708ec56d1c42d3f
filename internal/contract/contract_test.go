package contract

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const gib = 1 << 30

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func n(i int64) *int64 { return &i }

// asks is a claim of a new Standard mailbox with 1 GiB, asked for at minute i.
func asks(address string, minute int, change ...func(*Claim)) Claim {
	_, domain, _ := strings.Cut(address, "@")
	c := Claim{Address: address, Domain: domain, RequestedAt: noon.Add(time.Duration(minute) * time.Minute), Wants: &Holding{Type: Standard, Bytes: gib}}
	for _, f := range change {
		f(&c)
	}
	return c
}

func placed(c *Claim)             { has := *c.Wants; c.Has = &has }
func closed(c *Claim)             { placed(c); c.Wants = nil }
func massive(c *Claim)            { c.Wants.Type = Massive }
func quota(b int64) func(*Claim)  { return func(c *Claim) { c.Wants.Bytes = b } }
func wasStandard(c *Claim)        { c.Has = &Holding{Type: Standard, Bytes: gib} }
func admitted(o Outcome) []string { return chosen(o, true) }
func held(o Outcome) []string     { return chosen(o, false) }

func chosen(o Outcome, yes bool) (out []string) {
	for _, address := range slices.Sorted(maps.Keys(o.Decisions)) {
		if o.Decisions[address].Admitted == yes {
			out = append(out, address)
		}
	}
	return out
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		contract Contract
		claims   []Claim
		want     map[string]string // of the held: limit, part and place
	}{
		"who asked first is first": {
			Contract{Terms: Terms{Standard: n(1)}}, []Claim{asks("late@d", 2), asks("early@d", 1)},
			map[string]string{"late@d": "StandardMailboxes  1"},
		},
		"of two that asked at once the address decides": {
			Contract{Terms: Terms{Standard: n(1)}}, []Claim{asks("b@d", 1), asks("a@d", 1)},
			map[string]string{"b@d": "StandardMailboxes  1"},
		},
		"who is there stays, though another asked before": {
			Contract{Terms: Terms{Standard: n(1)}}, []Claim{asks("early@d", 1), asks("there@d", 2, placed)},
			map[string]string{"early@d": "StandardMailboxes  1"},
		},
		"a contract that shrank turns nobody out": {
			Contract{Terms: Terms{Standard: n(0), Massive: n(0), Bytes: n(0)}}, []Claim{asks("a@d", 1, placed), asks("b@d", 2, placed), asks("new@d", 0)},
			map[string]string{"new@d": "StandardMailboxes  1"},
		},
		"a closed mailbox keeps its room": {
			Contract{Terms: Terms{Standard: n(1)}}, []Claim{asks("gone@d", 1, closed), asks("new@d", 0)},
			map[string]string{"new@d": "StandardMailboxes  1"},
		},
		"a closed mailbox that comes back has its room": {
			Contract{Terms: Terms{Standard: n(1)}}, []Claim{asks("back@d", 9, placed), asks("new@d", 0)},
			map[string]string{"new@d": "StandardMailboxes  1"},
		},
		"the queue has places": {
			Contract{Terms: Terms{Standard: n(0)}}, []Claim{asks("c@d", 3), asks("a@d", 1), asks("b@d", 2)},
			map[string]string{"a@d": "StandardMailboxes  1", "b@d": "StandardMailboxes  2", "c@d": "StandardMailboxes  3"},
		},
		"a contract that ended admits nothing more": {
			Contract{Ended: true}, []Claim{asks("a@d", 1, placed), asks("b@d", 2)},
			map[string]string{"b@d": "Validity  0"},
		},
		"Massive needs a grant": {
			Contract{Terms: Terms{Massive: n(5)}}, []Claim{asks("a@d", 1, massive)},
			map[string]string{"a@d": "Grant  0"},
		},
		"a grant in capitals counts, and needs room": {
			Contract{Terms: Terms{Massive: n(1)}, Granted: map[string]bool{"a@d": true, "b@d": true}}, []Claim{asks("A@d", 1, massive), asks("b@d", 2, massive)},
			map[string]string{"b@d": "MassiveMailboxes  1"},
		},
		"Massive and Standard have rooms of their own": {
			Contract{Terms: Terms{Standard: n(1), Massive: n(1)}, Granted: map[string]bool{"m@d": true}}, []Claim{asks("m@d", 1, massive), asks("s@d", 2)},
			nil,
		},
		"all quotas together have a limit, and who fits passes who does not": {
			Contract{Terms: Terms{Bytes: n(4 * gib)}}, []Claim{asks("a@d", 1, quota(3*gib)), asks("b@d", 2, quota(2*gib)), asks("c@d", 3)},
			map[string]string{"b@d": "Storage  1"},
		},
		"a quota that grows needs room for what it grows by": {
			Contract{Terms: Terms{Bytes: n(3 * gib)}}, []Claim{asks("a@d", 1, quota(2*gib), wasStandard), asks("b@d", 2, quota(3*gib), wasStandard)},
			map[string]string{"b@d": "Storage  1"},
		},
		"a quota that shrinks makes room": {
			Contract{Terms: Terms{Bytes: n(2 * gib)}}, []Claim{asks("a@d", 1, func(c *Claim) { c.Has = &Holding{Standard, 2 * gib} }), asks("b@d", 2)},
			nil,
		},
		"who becomes Massive keeps what it has while it waits": {
			Contract{Terms: Terms{Standard: n(1), Massive: n(0)}, Granted: map[string]bool{"a@d": true}}, []Claim{asks("a@d", 1, massive, wasStandard), asks("b@d", 2)},
			map[string]string{"a@d": "MassiveMailboxes  1", "b@d": "StandardMailboxes  1"},
		},
		"who became Massive makes room": {
			Contract{Terms: Terms{Standard: n(1), Massive: n(1)}, Granted: map[string]bool{"a@d": true}}, []Claim{asks("a@d", 1, massive, wasStandard), asks("b@d", 2)},
			nil,
		},
		"another type in a contract whose storage shrank needs no storage": {
			Contract{Terms: Terms{Massive: n(1), Bytes: n(0)}, Granted: map[string]bool{"a@d": true}}, []Claim{asks("a@d", 1, massive, wasStandard)},
			nil,
		},
		"a domain draws no more than its part, and holds up nobody else": {
			Contract{Terms: Terms{Standard: n(3)}, Parts: map[string]Terms{"uno": {Standard: n(1)}}},
			[]Claim{asks("a@uno", 1), asks("b@uno", 2), asks("a@due", 3), asks("b@due", 4), asks("c@due", 5)},
			map[string]string{"b@uno": "StandardMailboxes uno 1", "c@due": "StandardMailboxes  1"},
		},
		"without limits everybody is admitted": {Contract{}, []Claim{asks("a@d", 1), asks("b@d", 2)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := Decide(c.contract, c.claims)
			got := map[string]string{}
			for address, d := range o.Decisions {
				if !d.Admitted {
					got[address] = fmt.Sprintf("%s %s %d", d.Limit, d.Part, d.Place)
				}
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("held %v, want %v", got, c.want)
			}
			if o.Total.Held != int64(len(c.want)) {
				t.Errorf("counts %d held of %d", o.Total.Held, len(c.want))
			}
		})
	}
}

func TestTally(t *testing.T) {
	c := Contract{Terms: Terms{Standard: n(1), Massive: n(0), Bytes: n(2 * gib)}}
	o := Decide(c, []Claim{asks("a@d", 1, placed), asks("b@d", 2, closed), asks("c@e", 3, massive, placed), asks("d@e", 4)})
	if want := (Tally{Standard: 2, Massive: 1, Bytes: 3 * gib, Closed: 1, Held: 1}); o.Total != want {
		t.Errorf("total %+v, want %+v", o.Total, want)
	}
	if want := (Tally{Massive: 1, Bytes: gib, Held: 1}); *o.Domains["e"] != want {
		t.Errorf("domain e %+v, want %+v", *o.Domains["e"], want)
	}
	if over := o.Total.Over(c.Terms); !slices.Equal(over, []Limit{StandardMailboxes, MassiveMailboxes, Storage}) {
		t.Errorf("over %v", over)
	}
}

func TestHeldSaysWhatToDo(t *testing.T) {
	full := Contract{Reference: "C-12", Terms: Terms{Standard: n(1), Bytes: n(gib)}, Parts: map[string]Terms{"uno": {Standard: n(0)}}}
	for name, c := range map[string]struct {
		contract Contract
		claims   []Claim
		want     []string
	}{
		"full":    {full, []Claim{asks("a@d", 1, closed), asks("z@d", 2)}, []string{"contract C-12: 1 of 1 Standard mailboxes", "keep their mail count: 1", "number 1 in the queue", "contract.standard"}},
		"a part":  {full, []Claim{asks("z@uno", 2)}, []string{"the part of uno in contract C-12: 0 of 0 Standard"}},
		"storage": {full, []Claim{asks("z@d", 2, quota(2*gib))}, []string{"0 MiB of 1 GiB quota", "contract.storageGiB"}},
		"ended":   {Contract{Reference: "C-12", Ended: true}, []Claim{asks("z@d", 2)}, []string{"C-12 has ended", "contract.validUntil"}},
		"a grant": {Contract{Reference: "C-12"}, []Claim{asks("z@d", 2, massive)}, []string{"no Massive mailbox to z@d", "contract.massiveGrants"}},
	} {
		o := Decide(c.contract, c.claims)
		message := o.Held(c.contract, c.claims[len(c.claims)-1].Address)
		for _, want := range c.want {
			if !strings.Contains(message, want) {
				t.Errorf("%s: %q does not say %q", name, message, want)
			}
		}
	}
	var crowd []Claim
	for i := range longQueue + 2 {
		crowd = append(crowd, asks(fmt.Sprintf("a%03d@d", i), i))
	}
	none := Contract{Reference: "C-12", Terms: Terms{Standard: n(0)}}
	o := Decide(none, crowd)
	if a, b := o.Held(none, crowd[longQueue].Address), o.Held(none, crowd[longQueue+1].Address); a != b || !strings.Contains(a, "more than 100") {
		t.Errorf("far back every place has a message of its own: %q, %q", a, b)
	}
}

func TestEnded(t *testing.T) {
	rome := func(day, clock string) time.Time {
		zone, err := time.LoadLocation("Europe/Rome")
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation(time.DateTime, day+" "+clock, zone)
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC()
	}
	for name, c := range map[string]struct {
		until string
		now   time.Time
		want  bool
	}{
		"without a last day it never ends":                           {"", noon, false},
		"the last day is part of it, up to midnight on Rome's clock": {"2026-06-30", rome("2026-06-30", "23:59:59"), false},
		"at midnight it is over, though UTC still has the day":       {"2026-06-30", rome("2026-07-01", "00:00:00"), true},
		"in winter too": {"2026-12-31", rome("2027-01-01", "00:00:00"), true},
	} {
		if got := Ended(c.until, c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// world is one site's view: what is provisioned there, and what is asked for.
type world struct {
	contract Contract
	has      map[string]Holding
	wants    map[string]Claim
	random   *rand.Rand // the order that claims come in
}

func newWorld(c Contract, random *rand.Rand) *world {
	return &world{contract: c, has: map[string]Holding{}, wants: map[string]Claim{}, random: random}
}

// seeded is what a test draws from; who puts the seed that it logs in here has the same run again.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func (w *world) claims() []Claim {
	var out []Claim
	for address, has := range w.has {
		c, ok := w.wants[address]
		if !ok {
			_, domain, _ := strings.Cut(address, "@")
			c = Claim{Address: address, Domain: domain}
		}
		c.Has = &has
		out = append(out, c)
	}
	for address, c := range w.wants {
		if _, ok := w.has[address]; !ok {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Claim) int { return strings.Compare(a.Address, b.Address) })
	w.random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// act provisions what is admitted, as an operator does.
func (w *world) act() Outcome {
	o := Decide(w.contract, w.claims())
	for _, address := range admitted(o) {
		w.has[address] = *w.wants[address].Wants
	}
	return o
}

func TestFourHundredAndOneOnAContractOfFourHundred(t *testing.T) {
	random := seeded(t)
	var claims []Claim
	for i := range 401 {
		claims = append(claims, asks(fmt.Sprintf("box%03d@d", i), random.IntN(50)))
	}
	last := slices.MaxFunc(claims, func(a, b Claim) int {
		return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), strings.Compare(a.Address, b.Address))
	})
	for range 20 {
		for _, site := range []*world{newWorld(Contract{Terms: Terms{Standard: n(400)}}, random), newWorld(Contract{Terms: Terms{Standard: n(400)}}, random)} {
			for _, i := range random.Perm(len(claims)) {
				site.wants[claims[i].Address] = claims[i]
			}
			if got := held(site.act()); !slices.Equal(got, []string{last.Address}) {
				t.Fatalf("held %v, want %s alone", got, last.Address)
			}
			if got := held(site.act()); !slices.Equal(got, []string{last.Address}) || len(site.has) != 400 {
				t.Fatalf("looked at again: held %v, %d provisioned", got, len(site.has))
			}
		}
	}
}

// TestNothingThatPeopleDoBreaksTheContract lets people ask, delete, make again, change and shrink at random: nobody who is there
// is turned out, nothing more than the contract allows is ever provisioned beyond what a shrink left, and deleting and making
// again never lets anybody in.
func TestNothingThatPeopleDoBreaksTheContract(t *testing.T) {
	random := seeded(t)
	for range 50 {
		limit := int64(20)
		w := newWorld(Contract{Terms: Terms{Standard: &limit}}, random)
		for step := range 400 {
			address := fmt.Sprintf("box%02d@d", random.IntN(60))
			switch random.IntN(10) {
			case 0:
				limit = int64(random.IntN(40))
			case 1, 2:
				delete(w.wants, address)
			default:
				w.wants[address] = asks(address, step-random.IntN(400))
			}
			before := maps.Clone(w.has)
			o := w.act()
			for there := range before {
				if _, wanted := w.wants[there]; wanted && !o.Decisions[there].Admitted {
					t.Fatalf("%s was there and is held", there)
				}
			}
			most := max(limit, int64(len(before)))
			if int64(len(w.has)) > most {
				t.Fatalf("%d are provisioned of %d", len(w.has), most)
			}
			if waiting := held(o); len(waiting) > 0 && int64(len(w.has)) < limit {
				t.Fatalf("%v wait though there is room: %d of %d", waiting, len(w.has), limit)
			}
		}
	}
}

func TestNear(t *testing.T) {
	crowd := func(n int) (out []Claim) {
		for i := range n {
			out = append(out, asks(fmt.Sprintf("box%03d@d", i), i))
		}
		return out
	}
	for name, c := range map[string]struct {
		contract Contract
		claims   []Claim
		want     bool
	}{
		"without limits nothing is near":                       {Contract{}, crowd(1), false},
		"room for it and ten more":                             {Contract{Terms: Terms{Standard: n(11)}}, crowd(1), false},
		"room for it and nine more":                            {Contract{Terms: Terms{Standard: n(10)}}, crowd(1), true},
		"room for fifty that wait and fifty more":              {Contract{Terms: Terms{Standard: n(100)}}, crowd(50), false},
		"room for fifty that wait and one less":                {Contract{Terms: Terms{Standard: n(99)}}, crowd(50), true},
		"storage for nine more like it":                        {Contract{Terms: Terms{Bytes: n(10 * gib)}}, crowd(1), true},
		"a domain's part that is small":                        {Contract{Terms: Terms{Standard: n(400)}, Parts: map[string]Terms{"d": {Standard: n(10)}}}, crowd(1), true},
		"another type that has no room matters to nobody else": {Contract{Terms: Terms{Standard: n(400), Massive: n(0)}}, crowd(1), false},
		"who is held": {Contract{Ended: true}, crowd(1), true},
	} {
		if got := Decide(c.contract, c.claims).Decisions["box000@d"].Near; got != c.want {
			t.Errorf("%s: near %v", name, got)
		}
	}
}
