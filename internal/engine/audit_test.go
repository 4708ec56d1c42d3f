package engine

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

var seedFlag = flag.Uint64("seed", 0, "the one random exchange to repeat")

// The rules that an inspector applies to both providers' logs hold after any exchange between them, whatever is unknown, full, infected,
// lost, doubled, late or killed.
func TestAuditInvariantsHoldAfterRandomExchanges(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		first := uint64(time.Now().UnixNano())
		seeds = nil
		for i := range uint64(exchangesAudited) {
			seeds = append(seeds, first+i)
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { // go test -run TestAudit -seed repeats it
			t.Parallel()
			x, random := newExchange(t), rand.New(rand.NewPCG(seed, 7))
			scanning := random.IntN(3) // neither, or one of the two, lets viruses pass
			x.a.settings.Antivirus.Clamd = map[bool]string{false: x.a.settings.Antivirus.Clamd}[scanning == 1]
			x.b.settings.Antivirus.Clamd = map[bool]string{false: x.b.settings.Antivirus.Clamd}[scanning == 2]
			x.a.crash()
			x.b.crash()
			x.lost = func(message) bool { return random.IntN(10) == 0 }
			for i := range 14 {
				x.submitAny(random)
				for _, w := range x.worlds() {
					w.runAndCrash(random)
					for _, m := range slices.Clone(w.outside) { // the wire may carry a message twice
						if random.IntN(4) == 0 {
							w.outside = append(w.outside, m)
						}
					}
				}
				if random.IntN(3) == 0 {
					x.settle()
				}
				if i == 7 {
					x.pass(13 * time.Hour)
				}
			}
			x.settle()
			x.pass(25 * time.Hour)
			x.settle()
			x.audit(t)
		})
	}
}

// submitAny submits something at one of the two.
func (x *exchange) submitAny(random *rand.Rand) {
	people := []string{"mario", "anna", "altra", "aperta", "piena", "sospesa", "nessuno"}
	w := x.worlds()[random.IntN(2)]
	from := people[random.IntN(4)] + "@" + w.domain
	var rcpts []string
	for range 1 + random.IntN(4) {
		to := people[random.IntN(len(people))] + "@" + []string{ours, theirs, "ordinaria.test"}[random.IntN(3)]
		if !slices.Contains(rcpts, to) {
			rcpts = append(rcpts, to)
		}
	}
	infected := "X-Allegato: " + virus + "\r\n"
	extra := []string{"", "", "X-TipoRicevuta: breve\r\n", "X-TipoRicevuta: sintetica\r\n", infected, infected, "Bcc: x@y.test\r\n"}[random.IntN(7)]
	w.submit(from, rcpts, letter(from, strings.Join(rcpts, ", "), extra))
	if random.IntN(3) == 0 { // Postfix splits it
		whole := w.queue[len(w.queue)-1]
		w.queue = w.queue[:len(w.queue)-1]
		for _, rcpt := range rcpts {
			part := whole
			part.rcpts = []string{rcpt}
			w.queue = append(w.queue, part)
		}
	}
}

// runAndCrash works the queue off, at times until the engine is killed.
func (w *world) runAndCrash(random *rand.Rand) {
	if random.IntN(3) == 0 {
		w.engine.journal = &crashing{journal: w.engine.journal, left: 1 + random.IntN(6), after: random.IntN(2) == 0}
	}
	if !survived(func() { w.run(1000) }) {
		w.crash()
	}
	w.engine.journal = w.engine.evidence
}

// pass lets time pass for both, half an hour at a time.
func (x *exchange) pass(d time.Duration) {
	for _, w := range x.worlds() {
		for end := w.now.Add(d); w.now.Before(end); {
			w.now = w.now.Add(30 * time.Minute)
			w.engine.passTimers()
		}
		if err := os.Chtimes(filepath.Join(w.settings.Antivirus.Definitions, "test.ndb"), w.now, w.now); err != nil {
			w.t.Fatal(err)
		}
		w.run(1000)
	}
}

// one is one recipient of one message.
type one struct{ identifier, rcpt string }

// document is a notice as its provider made it.
type document struct {
	id, to string
	pec.Certification
}

// books are what a provider's log and custody say.
type books struct {
	accepted map[string]accepted
	made     map[pec.Type]map[one][]document // its notices, by the recipient that each is about
	takings  map[one]int                     // in ricezione
	heard    map[string]map[one]time.Time    // acknowledged, settled
	parties  map[string]map[string]string    // by identifier: sender and recipients, and which line says so
}

func (w *world) books(t *testing.T) books {
	t.Helper()
	b := books{accepted: map[string]accepted{}, made: map[pec.Type]map[one][]document{}, takings: map[one]int{}, parties: map[string]map[string]string{},
		heard: map[string]map[one]time.Time{kindAcknowledged: {}, kindSettled: {}}}
	index, roots, err := w.engine.providers()
	if err != nil {
		t.Fatal(err)
	}
	err = w.engine.evidence.Each(func(r evidence.Record) error {
		var line struct {
			Transit *transitRecord
			outcomeData
		}
		if err := r.Decode(&line); err != nil {
			return err
		}
		if line.Transit != nil {
			b.names(line.Transit.transit(), r.Kind+" "+r.Key)
		}
		switch r.Kind {
		case kindAccepted:
			var a accepted
			err := r.Decode(&a)
			b.accepted[r.Identifier] = a
			return err
		case kindAcknowledged, kindSettled:
			b.heard[r.Kind][one{r.Identifier, line.Recipient}] = r.Time
		case kindNotice:
			var n noticeData
			if err := r.Decode(&n); err != nil {
				return err
			}
			raw, err := w.engine.custody.Get(n.Digest)
			if err != nil {
				return err
			}
			j := pec.Classify(raw, index, roots, r.Time)
			if j.Type != n.Type || j.Certification == nil || j.Certification.Identifier != r.Identifier || fold(j.Certification.Delivery) != n.About {
				t.Errorf("the notice %s is recorded as %s of %s about %q, and is %s of %+v", r.Key, n.Type, r.Identifier, n.About, j.Type, j.Certification)
				return nil
			}
			b.add(document{r.Key, n.To, *j.Certification})
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return b
}

// checkCustody opens what each record names, and asks of those that must that they name something. opened is how many there were, by kind.
func (w *world) checkCustody(opened map[string]int) {
	w.t.Helper()
	err := w.engine.evidence.Each(func(r evidence.Record) error {
		var names struct {
			Envelope, Infected, Digest string
		}
		if err := r.Decode(&names); err != nil {
			return err
		}
		digest := names.Envelope + names.Infected + names.Digest // a record has one
		if digest == "" && slices.Contains([]string{kindAccepted, kindNotice, kindDelivering, kindForwarding, kindHeld, kindInfected, kindReport}, r.Kind) {
			w.t.Errorf("%s %s names no copy in custody", r.Kind, r.Key)
		}
		if digest == "" {
			return nil
		}
		opened[r.Kind]++
		if _, err := w.engine.custody.Get(digest); err != nil {
			w.t.Errorf("the copy of %s %s: %v", r.Kind, r.Key, err)
		}
		return nil
	})
	if err != nil {
		w.t.Errorf("the custody of %s: %v", w.domain, err)
	}
}

// lookedAt fails unless there was something of each kind to look at.
func lookedAt(t testing.TB, opened map[string]int) {
	t.Helper()
	if opened[kindAccepted] == 0 || opened[kindNotice] == 0 || opened[kindDelivering] == 0 {
		t.Errorf("in custody were looked at, by kind: %v", opened)
	}
}

func (b books) names(transit pec.Transit, where string) {
	var list []string
	for _, r := range transit.Recipients {
		list = append(list, fmt.Sprint(fold(r.Address), r.Certified))
	}
	slices.Sort(list)
	if b.parties[transit.Identifier] == nil {
		b.parties[transit.Identifier] = map[string]string{}
	}
	b.parties[transit.Identifier][fold(transit.Sender)+" to "+strings.Join(list, ", ")] = where
}

func (b books) add(d document) {
	about := one{d.Identifier, fold(d.Delivery)}
	if b.made[d.Type] == nil {
		b.made[d.Type] = map[one][]document{}
	}
	b.made[d.Type][about] = append(b.made[d.Type][about], d)
	b.names(d.Transit, string(d.Type)+" "+d.id)
	for _, rcpt := range d.TakenInCharge {
		b.takings[one{d.Identifier, fold(rcpt)}]++
	}
}

// failures are those for a virus, which the sender's provider tells, or the others, which the recipient's does.
func (b books) failures(o one, virus bool) (list []document) {
	for _, d := range b.made[pec.TypeDeliveryError][o] {
		if (d.Error == pec.ErrorVirus) == virus {
			list = append(list, d)
		}
	}
	return list
}

// transport is what came from one provider to the other, or to itself.
type transport struct {
	envelopes map[one]int
	notices   map[string]bool // Message-IDs
}

func (x *exchange) transport(t *testing.T) transport {
	came := transport{map[one]int{}, map[string]bool{}}
	for _, m := range slices.Concat(x.arrived, x.a.inside, x.b.inside) {
		id := strings.Trim(messageIDOf(t, m.bytes), "<>")
		if title(t, m.bytes) == string(pec.TypeEnvelope) {
			came.envelopes[one{id, m.to}]++
		} else {
			came.notices[id] = true
		}
	}
	return came
}

func (came transport) of(list []document) (n int) {
	for _, d := range list {
		if came.notices[d.id] {
			n++
		}
	}
	return n
}

func (x *exchange) audit(t *testing.T) {
	t.Helper()
	all, came, count := map[string]books{}, x.transport(t), 0
	opened := map[string]int{}
	for _, w := range x.worlds() {
		all[w.domain] = w.books(t)
		w.checkCustody(opened)
	}
	lookedAt(t, opened) // of both together: one of them may have sent nothing that was accepted
	for _, w := range x.worlds() {
		b := all[w.domain]
		count += len(b.accepted)
		for _, s := range b.accepted {
			if n := len(b.made[pec.TypeAcceptance][one{s.Transit.Identifier, ""}]); n != 1 {
				t.Errorf("%s has %d acceptances", s.Transit.Identifier, n)
			}
			for _, rcpt := range s.Transit.Recipients {
				w.auditSent(t, s, rcpt, b, all[domainOf(rcpt.Address)], came)
			}
		}
		if len(b.made[pec.TypeAcceptance]) != len(b.accepted) {
			t.Errorf("%s made %d acceptances for %d messages of its own", w.domain, len(b.made[pec.TypeAcceptance]), len(b.accepted))
		}
		w.auditReceived(t, b, came)
		w.auditMailboxes(t, all, came)
	}
	auditParties(t, all)
	if count == 0 {
		t.Error("nothing was accepted")
	}
}

// auditSent is what the sending provider owes about one recipient: what came of it, each once, and its silence.
func (w *world) auditSent(t *testing.T, s accepted, rcpt recipientRecord, own, theirs books, came transport) {
	t.Helper()
	o := one{s.Transit.Identifier, rcpt.Address}
	delivered, failed, virus := came.of(theirs.made[pec.TypeDelivery][o]), came.of(theirs.failures(o, false)), came.of(theirs.made[pec.TypeVirusDetection][o])
	outcomes := delivered + failed + virus
	if outcomes > 1 {
		t.Errorf("%v: %d deliveries, %d failures, %d viruses", o, delivered, failed, virus)
	}
	if n := len(own.failures(o, true)); n != virus {
		t.Errorf("%v: %d failures for a virus after %d detections", o, n, virus)
	}
	taken := 0
	for _, d := range theirs.made[pec.TypeTakeCharge][one{o.identifier, ""}] {
		if came.notices[d.id] && slices.Contains(d.TakenInCharge, rcpt.Address) {
			taken++
		}
	}
	acknowledgedAt, acknowledged := own.heard[kindAcknowledged][o]
	settledAt, settled := own.heard[kindSettled][o]
	if acknowledged != (taken > 0) || settled != (outcomes > 0) {
		t.Errorf("%v: acknowledged %v after %d takings in charge, settled %v after %d outcomes", o, acknowledged, taken, settled, outcomes)
	}
	silentAt := func(deadline time.Duration) bool {
		at := s.At.Add(deadline)
		return rcpt.Certified && (!settled || settledAt.After(at)) && (deadline == lastNoticeAfter || !acknowledged || acknowledgedAt.After(at))
	}
	for deadline, d := range map[time.Duration]pec.Deadline{firstNoticeAfter: pec.FirstDeadline, lastNoticeAfter: pec.LastDeadline} {
		if told, err := w.engine.lookup(kindNotice, w.engine.warningID(timerKey(o), d), nil); err != nil || told != silentAt(deadline) {
			t.Errorf("%v: the notice of %s was made: %v (%v); acknowledged %v at %s, settled %v at %s, sent %s", o, deadline, told, err, acknowledged, acknowledgedAt, settled, settledAt, s.At)
		}
	}
	if !rcpt.Certified && (outcomes > 0 || taken > 0) {
		t.Errorf("%v is ordinary, and was answered for", o)
	}
}

// auditReceived is what the receiving provider owes about each envelope that came to a mailbox of its own, and about no other.
func (w *world) auditReceived(t *testing.T, own books, came transport) {
	t.Helper()
	told := map[one]bool{}
	for _, kind := range []pec.Type{pec.TypeDelivery, pec.TypeVirusDetection} {
		for o := range own.made[kind] {
			told[o] = true
		}
	}
	for o := range own.made[pec.TypeDeliveryError] {
		if len(own.failures(o, false)) > 0 {
			told[o] = true
		}
	}
	for o := range own.takings {
		told[o] = true
	}
	for o, n := range came.envelopes {
		if domainOf(o.rcpt) != w.domain {
			continue
		}
		delete(told, o)
		key, how := deliveryKey("ricevute@"+domainOf(o.identifier), o.identifier, o.rcpt), failure{}
		stored, err1 := w.engine.lookup(kindDelivered, key, nil)
		failed, err2 := w.engine.lookup(kindUndeliverable, key, &how)
		_, isOurs := own.accepted[o.identifier]
		if err1 != nil || err2 != nil || stored == failed || isOurs != (domainOf(o.identifier) == w.domain) {
			t.Errorf("%v: delivered %v, failed %v, accepted here %v: %v, %v", o, stored, failed, isOurs, err1, err2)
		}
		got := []int{len(own.made[pec.TypeDelivery][o]), len(own.failures(o, false)), len(own.made[pec.TypeVirusDetection][o]), own.takings[o], w.holds(t, o)}
		want := []int{0, 1, 0, n, 0}
		switch {
		case stored:
			want = []int{1, 0, 0, n, 1}
		case how.Threat != "":
			want = []int{0, 0, 1, 0, 0}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v, which came %d times: deliveries, failures, viruses, takings in charge, and messages in the mailbox (-want +got):\n%s", o, n, diff)
		}
	}
	for o := range told {
		t.Errorf("%s answers for %v, which never came", w.domain, o)
	}
}

// holds is how often an envelope is in its mailbox.
func (w *world) holds(t *testing.T, o one) (n int) {
	for _, raw := range w.store[o.rcpt] {
		if messageIDOf(t, raw) == "<"+o.identifier+">" {
			n++
		}
	}
	return n
}

// auditMailboxes looks for each notice that came in the mailbox of whom it is for.
func (w *world) auditMailboxes(t *testing.T, all map[string]books, came transport) {
	t.Helper()
	for _, b := range all {
		for kind, about := range b.made {
			for o, list := range about {
				for _, d := range list {
					if domainOf(d.to) != w.domain || w.engine.isProvidersOwn(d.to) {
						continue
					}
					want := came.of([]document{d})
					if got := w.holds(t, one{d.id, d.to}); got != want {
						t.Errorf("%s of %v is %d times in %s, want %d", kind, o, got, d.to, want)
					}
				}
			}
		}
	}
}

// auditParties compares sender and recipients in all that both say of one message.
func auditParties(t *testing.T, all map[string]books) {
	t.Helper()
	parties := map[string]map[string]string{}
	for _, b := range all {
		for identifier, said := range b.parties {
			if parties[identifier] == nil {
				parties[identifier] = map[string]string{}
			}
			maps.Copy(parties[identifier], said)
		}
	}
	for identifier, said := range parties {
		if len(said) != 1 {
			t.Errorf("of %s there are %d accounts: %v", identifier, len(said), said)
		}
	}
}
