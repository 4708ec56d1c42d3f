package engine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestGate(t *testing.T) {
	g, now := newGate(anyMailbox), time.Now()
	for i := range triesPerClient {
		if away := g.takeAPITry(fmt.Sprintf("m%d@x.test", i), fmt.Sprintf("2001:db8::%d", i), now); away.wait > 0 {
			t.Fatalf("try %d waits %v", i, away.wait)
		}
	}
	if g.takeAPITry("m@x.test", "2001:db8::ffff", now).wait == 0 {
		t.Error("another address of the same network is let in")
	}
	if g.takeAPITry("m@x.test", "2001:db8:0:1::1", now).wait > 0 || g.takeAPITry("m@x.test", "192.0.2.1", now).wait > 0 {
		t.Error("another network is kept out")
	}
	for i := range gateEntries + 10 {
		address, client := fmt.Sprintf("n%d@x.test", i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		g.takeAPITry(address, client, now)
		g.checked(address, client, loginGood, now)
	}
	for name, held := range map[string]int{"mailboxes": len(g.mailboxes.entries), "others": len(g.others.entries), "known": len(g.known.entries)} {
		if held != gateEntries {
			t.Errorf("the gate holds %d %s", held, name)
		}
	}
}

func anyMailbox(string) bool { return true }

// A mailbox's tries are not forgotten for those of addresses that somebody makes up.
func TestAFloodOfMadeUpAddressesForgetsNoMailbox(t *testing.T) {
	const m = "m@x.test"
	g, now := newGate(func(address string) bool { return address == m }), time.Now()
	guesses(g, m, triesPerAddress, elsewhere, now)
	for i := range gateEntries {
		client := fmt.Sprintf("2001:db8:%x::1", i)
		guesses(g, fmt.Sprintf("inventato%d@x.test", i), 1, from(client), now)
	}
	if g.mayCheck(m, "192.0.2.1", now).wait == 0 {
		t.Error("the mailbox has tries again")
	}
}

// Nor are those of a client that is known, at its own network.
func TestAFloodOfMadeUpAddressesForgetsNoKnownClientsTries(t *testing.T) {
	const m, home = "m@x.test", "198.51.100.7"
	g, now := newGate(anyMailbox), time.Now()
	rightly(g, m, home, now)
	guesses(g, m, triesPerClient, from(home), now)
	for i := range gateEntries {
		guesses(g, fmt.Sprintf("inventato%d@x.test", i), 1, from(fmt.Sprintf("2001:db8:%x::1", i)), now)
	}
	if g.mayCheck(m, home, now).wait == 0 {
		t.Error("the client has tries again")
	}
}

// From one network nobody has even a new client's tries forgotten: beyond its bound the names that it makes up leave nothing.
func TestAFloodFromOneNetworkForgetsNobodysTries(t *testing.T) {
	for name, flooder := range map[string]func(i int) string{"an address": from("192.0.2.1"), "a /48": around} {
		t.Run(name, func(t *testing.T) {
			g, now := newGate(func(string) bool { return false }), time.Now()
			sprays(triesPerClient, from("203.0.113.1"))(g, now)
			for i := range gateEntries {
				guesses(g, fmt.Sprintf("inventato%d@x.test", i), 1, from(flooder(i)), now)
			}
			if g.mayCheck("m@x.test", "203.0.113.1", now).wait == 0 {
				t.Error("a client beyond its bound has tries again")
			}
		})
	}
}

// Who logs in from networks without end has his own oldest forgotten, and nobody else's.
func TestAMailboxesKnownClientsAreItsOwn(t *testing.T) {
	const m, home = "m@x.test", "198.51.100.7"
	g, now := newGate(anyMailbox), time.Now()
	rightly(g, m, home, now)
	for i := range gateEntries {
		rightly(g, "o@x.test", fmt.Sprintf("2001:db8:%x::1", i), now)
	}
	guesses(g, m, 1000, elsewhere, now)
	guesses(g, "o@x.test", 1000, elsewhere, now)
	for client, want := range map[string]bool{home: true, "203.0.113.200": false} {
		if away := g.mayCheck(m, client, now); (away.wait == 0) != want {
			t.Errorf("%s waits %v at a mailbox, want let in %t", client, away.wait, want)
		}
	}
	for i, want := range map[int]bool{gateEntries - knownClients - 1: false, gateEntries - knownClients: true, gateEntries - 1: true} {
		if away := g.mayCheck("o@x.test", fmt.Sprintf("2001:db8:%x::1", i), now); (away.wait == 0) != want {
			t.Errorf("the %dth network of the other waits %v, want let in %t", i, away.wait, want)
		}
	}
}

// Whoever tries one mailbox after the other keeps nobody else out of one, once he is beyond his own bound.
func TestAClientBeyondItsBoundTakesNoMailboxsTries(t *testing.T) {
	g, now := newGate(anyMailbox), time.Now()
	admitted := 0
	for i := range triesPerClient + 10 {
		for range triesPerPair {
			if g.takeAPITry(fmt.Sprintf("m%d@x.test", i), "192.0.2.1", now).wait == 0 {
				admitted++
			}
		}
	}
	if admitted != triesPerClient {
		t.Errorf("a client has %d tries, want %d", admitted, triesPerClient)
	}
	for i := range triesPerAddress - triesPerPair {
		if away := g.takeAPITry("m25@x.test", fmt.Sprintf("198.51.100.%d", i), now); away.wait > 0 {
			t.Errorf("try %d of another client waits %v", i, away.wait)
		}
	}
	// Nor does a mailbox that is beyond its bound take a client's.
	guessed := 0
	for range triesPerClient {
		if g.takeAPITry("m25@x.test", "203.0.113.1", now).wait == 0 {
			guessed++
		}
	}
	for i := range triesPerClient - guessed {
		if away := g.takeAPITry(fmt.Sprintf("o%d@x.test", i), "203.0.113.1", now); away.wait > 0 {
			t.Errorf("after tries that were not made, try %d waits %v", i, away.wait)
		}
	}
}

// guesses gives wrong passwords, one after the other, each from the next client, and counts those that were looked at.
func guesses(g *gate, address string, n int, client func(i int) string, now time.Time) (checked int) {
	for i := range n {
		if g.mayCheck(address, client(i), now).wait == 0 {
			g.checked(address, client(i), loginWrong, now)
			checked++
		}
	}
	return checked
}

func from(client string) func(int) string { return func(int) string { return client } }

// elsewhere is another network for each try.
func elsewhere(i int) string { return fmt.Sprintf("203.0.%d.%d", i>>8, i&255) }

// around is another /64 of one place for each of 256 tries.
func around(i int) string { return fmt.Sprintf("2001:db8:7:%x::1", i&255) }

func TestWrongPasswordsAreBounded(t *testing.T) {
	const m, other, home, roaming = "m@x.test", "o@x.test", "198.51.100.7", "198.51.100.8"
	type given func(g *gate, now time.Time)
	guessed := func(n int, client func(int) string) given {
		return func(g *gate, now time.Time) { guesses(g, m, n, client, now) }
	}
	known := func(address string, ago time.Duration, then given) given {
		return func(g *gate, now time.Time) {
			rightly(g, address, home, now.Add(-ago))
			then(g, now)
		}
	}
	nothing := func(*gate, time.Time) {}
	for name, c := range map[string]struct {
		before  given
		after   time.Duration
		address string
		client  string
		want    bool // let in
	}{
		"whoever did nothing":                                {nothing, 0, m, home, true},
		"a client with one try left at a mailbox":            {guessed(triesPerPair-1, from(home)), 0, m, home, true},
		"one with none":                                      {guessed(triesPerPair, from(home)), 0, m, home, false},
		"just before one comes back":                         {guessed(triesPerPair, from(home)), pairRefill - time.Second, m, home, false},
		"then":                                               {guessed(triesPerPair, from(home)), pairRefill + time.Millisecond, m, home, true},
		"one that went on without any":                       {guessed(1000, from(home)), pairRefill + time.Millisecond, m, home, true},
		"it at another mailbox":                              {guessed(1000, from(home)), 0, other, home, true},
		"another client, there":                              {guessed(1000, from(home)), 0, m, roaming, true},
		"anybody new, when many clients guessed":             {guessed(1000, elsewhere), 0, m, home, false},
		"he, just before a try of the mailbox's comes back":  {guessed(1000, elsewhere), addressRefill - time.Second, m, home, false},
		"he, then":                                           {guessed(1000, elsewhere), addressRefill + time.Millisecond, m, home, true},
		"he, at another mailbox":                             {guessed(1000, elsewhere), 0, other, home, true},
		"a client that guessed at many mailboxes":            {spray(home), 0, m, home, false},
		"another one, then":                                  {spray(home), 0, m, roaming, true},
		"it, when a try came back":                           {spray(home), clientRefill + time.Millisecond, m, home, true},
		"another address of its /64":                         {spray("2001:db8:1:2::1"), 0, m, "2001:db8:1:2:3::4", false},
		"another /64":                                        {spray("2001:db8:1:2::1"), 0, m, "2001:db8:1:3::1", true},
		"anybody new, when one guessed all over his /48":     {guessed(1000, around), 0, m, home, true},
		"another /64 of that /48":                            {guessed(1000, around), 0, m, "2001:db8:7:ffff::1", false},
		"it, when a try came back to the /48":                {guessed(1000, around), placePairRefill + time.Millisecond, m, "2001:db8:7:ffff::1", true},
		"it, at another mailbox":                             {guessed(1000, around), 0, other, "2001:db8:7:ffff::1", true},
		"a /48 that guessed at many mailboxes":               {sprays(4*triesPerClient, around), 0, m, "2001:db8:7:ffff::1", false},
		"another /64 of it, when a try came back":            {sprays(4*triesPerClient, around), placeRefill + time.Millisecond, m, "2001:db8:7:ffff::1", true},
		"another /48, then":                                  {sprays(4*triesPerClient, around), 0, m, "2001:db8:8::1", true},
		"its address of IPv4, written as one of IPv6":        {spray(home), 0, m, "::ffff:" + home, false},
		"one who is known, when many clients guessed":        {known(m, time.Hour, guessed(1000, elsewhere)), 0, m, home, true},
		"one who is known, beside one who guesses elsewhere": {known(m, time.Hour, spray(home)), 0, m, home, true},
		"one who is known, with his own old password":        {known(m, time.Hour, guessed(triesPerClient, from(home))), 0, m, home, false},
		"the same, a little later":                           {known(m, time.Hour, guessed(1000, from(home))), clientRefill + time.Millisecond, m, home, true},
		"the same elsewhere":                                 {known(m, time.Hour, guessed(1000, from(home))), 0, m, roaming, true},
		"one who is known to another mailbox":                {known(other, time.Hour, guessed(1000, elsewhere)), 0, m, home, false},
		"one who was known long ago":                         {known(m, knownFor, guessed(1000, elsewhere)), 0, m, home, false},
		"one who knows the password of a mailbox that is shut": {func(g *gate, now time.Time) {
			g.checked(m, home, loginClosed, now)
			guesses(g, m, 1000, elsewhere, now)
		}, 0, m, home, true},
		"one whose passwords were not looked at, for any fault": {asked(m, home, ""), 0, m, home, true},
		"anybody new, when a thousand right ones were given":    {asked(m, home, loginGood), 0, m, roaming, true},
	} {
		t.Run(name, func(t *testing.T) {
			g, now := newGate(anyMailbox), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
			c.before(g, now)
			if away := g.mayCheck(c.address, c.client, now.Add(c.after)); (away.wait == 0) != c.want {
				t.Errorf("has to wait %v, want let in %t", away.wait, c.want)
			}
		})
	}
}

// Who never stops takes of a mailbox's tries fewer than come back, and of a /48's if he has one /64: he alone keeps nobody out.
func TestOneAloneKeepsNobodyOut(t *testing.T) {
	for name, c := range map[string]struct {
		guesser func(i int) string
		at      string // one mailbox after the other where it has a #
		another string
	}{
		"at an address":                         {from("192.0.2.1"), "m@x.test", "192.0.2.2"},
		"all over a /48":                        {around, "m@x.test", "192.0.2.2"},
		"in a /64, a neighbour":                 {from("2001:db8:7:1::1"), "m@x.test", "2001:db8:7:2::1"},
		"in a /64, a neighbour, at any mailbox": {from("2001:db8:7:1::1"), "s#@x.test", "2001:db8:7:2::1"},
	} {
		t.Run(name, func(t *testing.T) {
			g, now := newGate(anyMailbox), time.Now()
			for second := range 4 * 3600 {
				at := now.Add(time.Duration(second) * time.Second)
				for i := 3 * second; i < 3*second+3; i++ {
					guesses(g, strings.ReplaceAll(c.at, "#", strconv.Itoa(i)), 1, from(c.guesser(i)), at)
				}
				if away := g.mayCheck("m@x.test", c.another, at); away.wait > 0 {
					t.Fatalf("after %d seconds another client waits %v", second, away.wait)
				}
				g.checked("m@x.test", c.another, "", at)
			}
		})
	}
}

// asked is a client that gives a thousand passwords with one outcome.
func asked(address, client, outcome string) func(*gate, time.Time) {
	return func(g *gate, now time.Time) {
		for range 1000 {
			g.mayCheck(address, client, now)
			g.checked(address, client, outcome, now)
		}
	}
}

// spray is a client that guesses at one mailbox after the other.
func spray(client string) func(*gate, time.Time) { return sprays(triesPerClient, from(client)) }

func sprays(n int, client func(i int) string) func(*gate, time.Time) {
	return func(g *gate, now time.Time) {
		for i := range n {
			guesses(g, fmt.Sprintf("s%d@x.test", i), 1, from(client(i)), now)
		}
	}
}

func rightly(g *gate, address, client string, now time.Time) {
	g.mayCheck(address, client, now)
	g.checked(address, client, loginGood, now)
}

// Tries that come at once are let in before the first of them is found wrong: no more than there are left.
func TestGuessesAtOnceAreBounded(t *testing.T) {
	const m, home = "m@x.test", "198.51.100.7"
	g, now := newGate(anyMailbox), time.Now()
	var open []string
	admitted := 0
	rightly(g, m, home, now)
	for i := range 1000 { // each second one is found wrong later than the next is asked for
		rightly(g, m, home, now) // who is known goes on reading, and gives nobody a try
		if g.mayCheck(m, elsewhere(i), now).wait == 0 {
			admitted++
			open = append(open, elsewhere(i))
		}
		if i%2 == 0 && len(open) > 0 {
			g.checked(m, open[0], loginWrong, now)
			open = open[1:]
		}
	}
	if admitted != triesPerAddress {
		t.Errorf("%d passwords are looked at, want %d", admitted, triesPerAddress)
	}
	// Checks that are never heard of: Dovecot was killed.
	for i := range triesPerAddress {
		g.mayCheck("n@x.test", elsewhere(i), now)
	}
	if g.mayCheck("n@x.test", "192.0.2.1", now).wait == 0 || g.mayCheck("n@x.test", "192.0.2.1", now.Add(checkTimeout+time.Second)).wait > 0 {
		t.Error("checks that nobody hears of do not count for their time and no longer")
	}
}

// What a client guesses at a mailbox at once is let in together, and paid for before the next.
func TestAClientPaysForItsGuessesAtOnce(t *testing.T) {
	const m, client = "m@x.test", "192.0.2.1"
	g, now := newGate(anyMailbox), time.Now()
	const atOnce = 2 * triesPerPair
	for range atOnce {
		g.mayCheck(m, client, now)
	}
	for range atOnce {
		g.checked(m, client, loginWrong, now)
	}
	paid := time.Duration(atOnce-triesPerPair) * pairRefill
	if g.mayCheck(m, client, now.Add(paid)).wait == 0 {
		t.Error("there is a try again before they are paid for")
	}
	if away := g.mayCheck(m, client, now.Add(paid+pairRefill+time.Second)); away.wait > 0 {
		t.Errorf("when they are paid for there are %v left to wait", away.wait)
	}
}

// A mail program that opens many sessions is let in to all, one after the other; at once as many passwords are looked at as keep nobody else
// waiting for theirs.
func TestManySessionsAtOnce(t *testing.T) {
	const m, client = "m@x.test", "192.0.2.1"
	letIn := func(g *gate, now time.Time, address, client func(i int) string) (n int) {
		for n < 1000 && g.mayCheck(address(n), client(n), now).wait == 0 {
			n++
		}
		return n
	}
	oneByOne := func(i int) string { return fmt.Sprintf("m%d@x.test", i) }
	networks := func(g *gate, now time.Time) {
		for i := range knownClients {
			rightly(g, m, elsewhere(i), now)
		}
	}
	for name, c := range map[string]struct {
		before          func(*gate, time.Time)
		address, client func(i int) string
		want            int
	}{
		"a new client at a mailbox":                     {func(*gate, time.Time) {}, from(m), from(client), triesPerAddress},
		"a new client at one mailbox after the other":   {func(*gate, time.Time) {}, oneByOne, from(client), triesPerPlace},
		"all over a /48, at one after the other":        {func(*gate, time.Time) {}, oneByOne, around, triesPerPlace},
		"one who is known":                              {func(g *gate, now time.Time) { rightly(g, m, client, now) }, from(m), from(client), triesPerKnown},
		"one who is known at many places":               {networks, from(m), func(i int) string { return elsewhere(i % knownClients) }, triesPerKnown},
		"one who is known, after a thousand right ones": {asked(m, client, loginGood), from(m), from(client), triesPerKnown},
	} {
		t.Run(name, func(t *testing.T) {
			g, now := newGate(anyMailbox), time.Now()
			c.before(g, now)
			n := letIn(g, now, c.address, c.client)
			if n != c.want {
				t.Errorf("%d are let in, want %d", n, c.want)
			}
			g.checked(c.address(0), c.client(0), loginGood, now)
			if away := g.mayCheck(c.address(n), c.client(n), now); away.wait > 0 {
				t.Errorf("when one check is done another waits %v", away.wait)
			}
		})
	}
}

// Dovecot tells of logins of which it did not ask: whoever makes such, with no password looked at, takes nobody's tries.
func TestATryIsTakenForACheckOnly(t *testing.T) {
	const m, home = "m@x.test", "198.51.100.7"
	told := func(g *gate, from string, now time.Time) {
		for range 1000 {
			g.checked(m, from, loginWrong, now)
		}
	}
	for name, c := range map[string]struct {
		known  bool
		teller string
	}{
		"of another client's": {false, "192.0.2.1"},
		"of a new client's":   {false, home},
		"of one who is known": {true, home},
	} {
		t.Run(name, func(t *testing.T) {
			g, now := newGate(anyMailbox), time.Now()
			if c.known {
				rightly(g, m, home, now)
			}
			told(g, c.teller, now)
			if away := g.mayCheck(m, home, now); away.wait > 0 {
				t.Errorf("has to wait %v", away.wait)
			}
			told(g, c.teller, now) // as well as one that is asked about
			g.checked(m, home, "", now)
			if got := guesses(g, m, 1000, from(home), now); got < triesPerPair-1 {
				t.Errorf("has %d tries left", got)
			}
		})
	}
}

// All sessions of a new client were counted while their passwords were under check, also those that ended when it was known by the first.
func TestSessionsAtOnceAreCountedNoLongerThanTheirChecks(t *testing.T) {
	g, now := newGate(anyMailbox), time.Now()
	const atOnce = 10
	for i := range triesPerAddress {
		for range atOnce {
			if away := g.mayCheck("m@x.test", elsewhere(i), now); away.wait > 0 {
				t.Fatalf("a session of client %d waits %v", i, away.wait)
			}
		}
		for range atOnce {
			g.checked("m@x.test", elsewhere(i), loginGood, now)
		}
	}
}

func TestARefusalIsNewsOnceInARefill(t *testing.T) {
	g, now := newGate(anyMailbox), time.Now()
	guesses(g, "m@x.test", triesPerAddress, elsewhere, now)
	news := 0
	for i := range 300 { // five minutes, in which every try that comes back is used
		at := now.Add(time.Duration(i) * time.Second)
		if away := g.mayCheck("m@x.test", elsewhere(i), at); away.isNews {
			news++
		} else if away.wait == 0 {
			g.checked("m@x.test", elsewhere(i), loginWrong, at)
		}
	}
	if news != 10 {
		t.Errorf("five minutes of refusals are %d lines of the log, want 10", news)
	}
}
