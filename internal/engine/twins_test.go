package engine

import (
	"context"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
)

// twin is one of the two sites of a domain, with the link to the other running over TLS on loopback. The link can be cut.
type twin struct {
	*site
	door *door
	stop func()
}

func newTwins(t *testing.T) (a, b *twin) {
	t.Helper()
	a, b = newTwin(t, "a"), newTwin(t, "b")
	later(a.time().Sub(b.time()), b)
	a.meets(b)
	b.meets(a)
	return a, b
}

func newTwin(t *testing.T, name string) *twin {
	x := &twin{site: newSite(t, name, admin.EngineURI(name, ours)), door: newDoor(t)}
	t.Cleanup(func() { x.stop() })
	x.run()
	return x
}

func (x *twin) meets(other *twin) {
	x.knows(&site{world: other.world, authority: other.authority, link: other.door.address})
}

// run starts what replicates, as Serve does, with less patience.
func (x *twin) run() {
	ctx, cancel := context.WithCancel(context.Background())
	e := x.engine
	e.replica.news, e.replica.patience, e.replica.reserve = 10*time.Millisecond, 300*time.Millisecond, 0
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() { _ = e.servePeer(ctx, l) })
	group.Go(func() { _ = e.runReplica(ctx, verbRecords, e.pull) })
	group.Go(func() { _ = e.runReplica(ctx, verbCopies, e.copyAll) })
	group.Go(func() { _ = e.runRepair(ctx) })
	x.door.leadTo(l.Addr().String())
	x.stop = func() {
		cancel()
		x.door.leadTo("")
		group.Wait()
	}
}

// kill ends the engine as SIGKILL would, and starts another one on the same disk.
func (x *twin) kill() { x.between(func() {}) }

// between does something to the disk while no engine runs.
func (x *twin) between(do func()) {
	x.stop()
	_ = x.engine.Close()
	do()
	x.start()
	x.run()
}

// loseDirectory is a site whose log is all that it has; its operator has not told it of the peer again.
func (x *twin) loseDirectory() {
	x.between(func() {
		if err := os.RemoveAll(filepath.Join(x.settings.Files.State, directoryDir)); err != nil {
			x.t.Fatal(err)
		}
	})
}

// rebuild is a site whose volume is new; its operator tells it of the peer again.
func (x *twin) rebuild(other *twin) {
	x.between(func() {
		if err := os.RemoveAll(x.settings.Files.State); err != nil {
			x.t.Fatal(err)
		}
	})
	x.meets(other)
}

// door is the way to a site, which can be shut, or swallow what comes.
type door struct {
	address string
	mu      sync.Mutex
	to      string
	shut    bool
	deaf    bool
	conns   map[net.Conn]bool
}

func newDoor(t *testing.T) *door {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{address: l.Addr().String(), conns: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.pass(conn)
		}
	}()
	return d
}

func (d *door) pass(in net.Conn) {
	defer in.Close()
	d.mu.Lock()
	to, shut := d.to, d.shut
	d.mu.Unlock()
	if shut || to == "" {
		return
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	d.mu.Lock()
	d.conns[in], d.conns[out] = true, true
	d.mu.Unlock()
	go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		d.mu.Lock()
		deaf := d.deaf
		d.mu.Unlock()
		if !deaf {
			if _, err := out.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}

func (d *door) leadTo(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = address
	d.drop()
}

// drop ends the connections that are there; it is called with the lock held.
func (d *door) drop() {
	for conn := range d.conns {
		_ = conn.Close()
	}
	clear(d.conns)
}

// cut and heal are the link between the buildings, both ways.
func cut(sites ...*twin) { setShut(true, sites) }

func heal(sites ...*twin) { setShut(false, sites) }

func setShut(shut bool, sites []*twin) {
	for _, x := range sites {
		x.door.mu.Lock()
		if x.door.shut = shut; shut {
			x.door.drop()
		}
		x.door.mu.Unlock()
	}
}

// eventually repeats a check until it holds.
func eventually(t testing.TB, check func() string) {
	t.Helper()
	why := ""
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if why = check(); why == "" {
			return
		}
	}
	t.Fatal(why)
}

// agree waits until both have heard all of each other, and have each other's messages.
func agree(t testing.TB, a, b *twin) {
	t.Helper()
	eventually(t, func() string {
		for _, pair := range [][2]*twin{{a, b}, {b, a}} {
			x, other := pair[0].engine, pair[1].engine
			m := x.mirrors.of(other.logName)
			records, head := other.evidence.Head()
			if m == nil || m.Head() != (evidence.Position{Seq: records, Head: head}) {
				return "site " + x.settings.Site + " does not hold all of the other's records: " + x.replication().LastError
			}
			if r := other.replication(); r.PeerHolds != records || r.PeerCopied != records {
				return "site " + x.settings.Site + " does not hold all messages of the other's records: " + x.replication().LastError
			}
			if !x.recalled.Load() {
				return "site " + x.settings.Site + " does not know yet what it was: " + x.replication().LastError
			}
			if !x.replica.speaks(x.now()) {
				return "site " + x.settings.Site + " does not hear the other"
			}
		}
		return ""
	})
}

// later moves both clocks.
func later(d time.Duration, sites ...*twin) {
	for _, x := range sites {
		x.ticks.Lock()
		x.now = x.now.Add(d)
		x.ticks.Unlock()
	}
}

// live lets so much time pass at these sites, in steps at which each hears the other if it can.
func live(d, step time.Duration, sites ...*twin) {
	for end := sites[0].time().Add(d); sites[0].time().Before(end); {
		later(min(step, end.Sub(sites[0].time())), sites...)
		for _, x := range sites {
			x.catchBreath()
			x.engine.retryLater(context.Background())
			x.engine.passTimers()
		}
	}
	for _, x := range sites {
		x.world.run(enoughRounds * 10)
	}
}

// catchBreath lets a site whose link is whole hear that there is nothing new.
func (x *twin) catchBreath() {
	x.door.mu.Lock()
	shut := x.door.shut
	x.door.mu.Unlock()
	now := x.time()
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if h := x.engine.hearing(); shut || h.alone || !h.caughtUpAt.Before(now) {
			return
		}
	}
}

func (x *twin) silences(mailbox string) (n int) {
	for _, title := range x.titles(mailbox) {
		if title == "preavviso-errore-consegna" {
			n++
		}
	}
	return n
}

// carryOut brings what left one building for another provider there.
func carryOut(t *testing.T, from, to *world) {
	t.Helper()
	x := &exchange{a: from, b: to, lost: func(message) bool { return false }}
	x.carry(from, to)
	to.run(enoughRounds * 10)
}

// sameState fails unless both engines derive the same from what they know.
func sameState(t testing.TB, a, b *twin) {
	t.Helper()
	type state struct {
		Timers  map[timerKey]timer
		Choices map[string]map[admin.Choice]choice
		Sent    map[string]int
		Month   map[string]int64
	}
	of := func(x *twin) state {
		x.engine.timers.mu.Lock()
		defer x.engine.timers.mu.Unlock()
		x.engine.holders.mu.Lock()
		defer x.engine.holders.mu.Unlock()
		s := state{Timers: x.engine.timers.open, Choices: x.engine.holders.choices}
		x.engine.sentToday.mu.Lock()
		defer x.engine.sentToday.mu.Unlock()
		if x.engine.sentToday.day == dayOf(x.time()) {
			s.Sent = x.engine.sentToday.by
		}
		if len(s.Sent) == 0 {
			s.Sent = nil
		}
		s.Month = sentInMonth(x)
		return s
	}
	if diff := cmp.Diff(of(a), of(b), cmp.AllowUnexported(timerKey{}, timer{})); diff != "" {
		t.Errorf("the sites derive different things (-a +b):\n%s", diff)
	}
}

// sentInMonth is how much each mailbox sent in the last month, as a site counts it.
func sentInMonth(x *twin) map[string]int64 {
	x.engine.senders.mu.Lock()
	addresses := slices.Collect(maps.Keys(x.engine.senders.by))
	x.engine.senders.mu.Unlock()
	month := map[string]int64{}
	for _, address := range addresses {
		month[address] = x.engine.senders.month(address, x.time())
	}
	return month
}

// wholeChains fails unless every mirror verifies, and those of live logs are the logs byte for byte.
func wholeChains(t testing.TB, a, b *twin) {
	t.Helper()
	lines := func(dir string) (all []string) {
		err := evidence.Walk(dir, func(_ string, r evidence.Record) error { all = append(all, r.Hash); return nil }, func(fault string) { t.Errorf("%s: %s", dir, fault) })
		if err != nil {
			t.Error(err)
		}
		return all
	}
	for _, pair := range [][2]*twin{{a, b}, {b, a}} {
		x, other := pair[0], pair[1]
		for _, m := range x.engine.mirrors.all() {
			mirrored := lines(filepath.Join(x.settings.Files.State, mirrorsDir, m.name))
			if m.name == other.engine.logName && !slices.Equal(mirrored, lines(filepath.Join(other.settings.Files.State, evidenceDir))) {
				t.Errorf("the mirror at %s is not the other's log", x.settings.Site)
			}
		}
	}
}

// wholeCustody fails unless both sites have the same messages.
func wholeCustody(t testing.TB, a, b *twin) {
	t.Helper()
	digests := func(x *twin) (all []string) {
		for _, log := range append([]readable{x.engine.evidence}, mirrorsOf(x)...) {
			for _, r := range recordsOf(t, log) {
				all = append(all, namesOf(r)...)
			}
		}
		return all
	}
	for _, x := range []*twin{a, b} {
		for _, digest := range digests(x) {
			if _, err := x.engine.custody.Get(digest); err != nil {
				t.Errorf("at site %s: %v", x.settings.Site, err)
			}
		}
	}
}

func mirrorsOf(x *twin) (list []readable) {
	for _, m := range x.engine.mirrors.all() {
		list = append(list, m)
	}
	return list
}

// evidenceOf are the records of one kind that a site wrote in its present log.
func evidenceOf(t testing.TB, x *twin, kind string) (list []evidence.Record) {
	t.Helper()
	if err := x.engine.evidence.Each(func(r evidence.Record) error {
		if r.Kind == kind {
			list = append(list, r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func replicaOf(t testing.TB, x *twin) (words []string) {
	t.Helper()
	for _, r := range evidenceOf(t, x, kindDelivered) {
		var d deliveryData
		if err := r.Decode(&d); err != nil {
			t.Fatal(err)
		}
		if d.Replica != "" {
			words = append(words, strings.TrimSuffix(d.Mailbox, "@"+ours)+" "+d.Replica)
		}
	}
	return words
}

// recordsOf are all records of a log.
func recordsOf(t testing.TB, log readable) (all []evidence.Record) {
	t.Helper()
	reader, err := log.After(evidence.Position{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		records, err := reader.Records(pieceSize)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return all
		}
		all = append(all, records...)
	}
}
