package engine

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/settings"
)

const (
	fullSender = "piena@" + ours
	gone       = "perso@ordinaria.test" // its server refuses it
	infectious = "infetta@" + theirs    // its provider finds viruses in everything
	luca       = "luca@" + theirs
	answered   = "answered" // the step after the answer to Postfix
)

// killedKinds are the records that messages make at one site.
var killedKinds = []string{
	kindTransaction, kindAccepted, kindRefused, kindNotice, kindInjected, kindTaken, kindDelivering, kindDelivered, kindUndeliverable, kindHeld, kindForwarding,
	kindReceivedNotice, kindBounced, kindReport, kindInfected, kindAcknowledged, kindSettled,
}

// Killed by SIGKILL at any step while others send, and started again, the engine loses nothing that was answered 250, tells nobody twice,
// and says nothing that is untrue.
func TestKilledAtEveryStepUnderLoadNothingIsLostDoubledOrUntrue(t *testing.T) {
	l := newLoad(t)
	for range killsOfAMoment {
		steps := []string{answered}
		for _, kind := range killedKinds {
			moments := []string{before, unsynced, after}
			l.random.Shuffle(len(moments), func(i, j int) { moments[i], moments[j] = moments[j], moments[i] })
			for _, moment := range moments[:momentsOfAKind] {
				steps = append(steps, moment+" "+kind)
			}
		}
		l.random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for _, step := range steps {
			l.kill(step, 1+l.random.IntN(3))
		}
	}
	l.settle()
	l.check()
}

// load is Postfix, Dovecot, clients and another provider around an engine that is a process of its own. Postfix keeps what it answered
// for and hands it over again, from several processes.
type load struct {
	*world
	random *mathrand.Rand
	path   string // of the engine's settings
	index  pec.Index
	roots  *x509.CertPool

	stopSending, stop context.CancelFunc
	sending, running  sync.WaitGroup

	books    sync.Mutex
	promised []promise
	reports  int // that Postfix wrote about nothing of ours
	flying   int // taken from the queue
	seen     int // of what left the building, by the other side
	answers  int // until the kill after an answer; 0 is none
	process  *exec.Cmd
	log      *mailtest.Log
}

// promise is a message that was answered 250.
type promise struct{ shape, identifier, to string }

// The shapes of what is sent.
const (
	shapeLetter   = "to six recipients"
	shapeFull     = "from a mailbox that is full at times"
	shapeInfected = "with a virus"
	shapeHidden   = "with a hidden recipient"
	shapeForeign  = "another provider's envelope"
	shapeDirty    = "another provider's envelope with a virus"
	shapeOrdinary = "ordinary mail"
	shapeReturned = "ordinary mail that is sent on and comes back"
)

func newLoad(t *testing.T) *load {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := &load{world: newWorld(t), random: mathrand.New(mathrand.NewPCG(seed, 1))}
	var err error
	if l.index, l.roots, err = l.engine.providers(); err != nil {
		t.Fatal(err)
	}
	l.forwardsTo(forwarder, gone)
	if err := l.engine.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l.path = filepath.Join(dir, "engine.json")
	s := &l.settings
	s.Listen = settings.Listen{Access: free(t), Incoming: free(t), MilterMX: free(t), MilterSubmit: free(t), Admin: "127.0.0.1:0", PeerLink: "127.0.0.1:0", Holder: "127.0.0.1:0", Health: "127.0.0.1:0", LoginPolicy: "127.0.0.1:0", SyncDestination: "127.0.0.1:0"}
	s.Next.DoveadmHTTP, s.Files.DoveadmAPIKey = l.serveDoveadm(), filepath.Join(dir, "key")
	text, err := json.Marshal(s)
	if err = errors.Join(err, os.WriteFile(l.path, text, 0o600), os.WriteFile(s.Files.DoveadmAPIKey, []byte(mailtest.DoveadmKey), 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	sending, stopSending := context.WithCancel(ctx)
	l.stop, l.stopSending = stop, stopSending
	for range 4 {
		random := mathrand.New(mathrand.NewPCG(seed, l.random.Uint64()))
		l.sending.Go(func() { l.repeat(sending, func() bool { return l.send(ctx, random) }) })
		l.running.Go(func() { l.repeat(ctx, l.work) })
	}
	l.running.Go(func() { l.repeat(ctx, func() bool { return l.answer(ctx) }) })
	l.running.Go(func() { l.repeat(sending, l.fillOrEmpty) })
	t.Cleanup(func() { stop(); l.sending.Wait(); l.running.Wait(); l.endProcess(syscall.SIGKILL) })
	return l
}

// free is a port below those that the kernel gives to outgoing connections.
func free(t *testing.T) string {
	for range 200 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(12000)))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port of loopback is free")
	return ""
}

// repeat does something until the context ends, and rests when there is nothing to do.
func (l *load) repeat(ctx context.Context, do func() bool) {
	for ctx.Err() == nil {
		if !do() {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// serveDoveadm is Dovecot's HTTP API over the double's store.
func (l *load) serveDoveadm() string {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var commands [][]json.RawMessage
		var asked struct {
			User  string
			Query []string
		}
		if err := json.NewDecoder(r.Body).Decode(&commands); err != nil || len(commands) != 1 || len(commands[0]) != 3 || json.Unmarshal(commands[0][1], &asked) != nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		answer := "[]"
		switch string(commands[0][0]) {
		case `"search"`:
			if has, _ := l.has(asked.User, asked.Query[len(asked.Query)-1]); has {
				answer = `[{"uid":"1"}]`
			}
		case `"quotaGet"`:
			answer = `[{"type":"STORAGE","value":"0"}]`
		}
		_, _ = fmt.Fprintf(rw, `[["doveadmResponse",%s,"1"]]`, answer)
	}))
	l.t.Cleanup(server.Close)
	return server.URL
}

// start starts the engine, which ends itself as doom says.
func (l *load) start(doom string) {
	l.log = &mailtest.Log{}
	l.process = exec.Command(os.Args[0], l.path)
	l.process.Env = append(os.Environ(), doomVariable+"="+doom)
	l.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.process.Stderr = l.log
	if err := l.process.Start(); err != nil {
		l.t.Fatal(err)
	}
}

// endProcess ends the engine with a signal.
func (l *load) endProcess(signal syscall.Signal) {
	if l.process != nil {
		_ = l.process.Process.Signal(signal)
		_ = l.process.Wait()
		l.process = nil
	}
}

// kill starts the engine and waits until it was killed at the n-th passing of a step.
func (l *load) kill(step string, n int) {
	l.t.Helper()
	if step == answered {
		l.start("")
		l.books.Lock()
		l.answers = n
		l.books.Unlock()
	} else {
		l.start(fmt.Sprintf("%s %d", step, n))
	}
	late := time.AfterFunc(time.Minute, func() { _ = l.process.Process.Signal(syscall.SIGQUIT) }) // it says where it is
	_ = l.process.Wait()                                                                          // how it ended is looked at
	late.Stop()
	status, is := l.process.ProcessState.Sys().(syscall.WaitStatus)
	l.process = nil
	if !is || !status.Signaled() || status.Signal() != syscall.SIGKILL && status.Signal() != syscall.SIGSYS {
		text := l.log.String()
		l.t.Fatalf("the engine that was to be killed %s, the %d. time, ended with %v:\n...%s", step, n, status, text[max(0, len(text)-5000):])
	}
}

// send is a client, or another provider's server: what is not answered 250 is sent again.
func (l *load) send(ctx context.Context, random *mathrand.Rand) bool {
	l.mu.Lock()
	waiting := len(l.queue)
	l.mu.Unlock()
	if waiting > 40 {
		return false
	}
	submit := func(shape, from string, rcpts []string, extra string) bool {
		return l.take(portSubmission, from, rcpts, []byte(letter(from, strings.Join(rcpts, ", "), extra)), shape, "") != ""
	}
	switch shape := random.IntN(11); shape {
	case 0, 1, 2:
		return submit(shapeLetter, sender, []string{"anna@" + ours, "nessuno@" + ours, "bruno@" + theirs, infectious, fullSender, gone}, "")
	case 3:
		return submit(shapeFull, fullSender, []string{"anna@" + ours}, "")
	case 4:
		return submit(shapeInfected, sender, []string{"anna@" + ours}, "X-Allegato: "+virus+"\r\n")
	case 5:
		return l.take(portSubmission, sender, []string{"anna@" + ours, gone}, []byte(letter(sender, "anna@"+ours, "")), shapeHidden, "") != ""
	case 6, 7:
		extra, to, shape := "", []string{"anna@" + ours, "nessuno@" + ours}[random.IntN(2)], shapeForeign
		if random.IntN(2) == 0 {
			extra, to, shape = "X-Allegato: "+virus+"\r\n", "anna@"+ours, shapeDirty
		}
		identifier, raw := foreignEnvelopeOf(l.t, luca, to, fmt.Sprintf("%x", random.Uint64()), letter(luca, to, extra))
		for range 1 + random.IntN(2) { // the answer may be lost
			l.insist(ctx, luca, to, raw, shape, identifier)
		}
	case 8:
		return l.take(portMX, stranger, []string{"aperta@" + ours}, []byte(letter(stranger, "aperta@"+ours, "")), shapeOrdinary, "") != ""
	case 9:
		l.bounce(luca, "X-Postfix-Queue-ID: 4jX5CVnothing", "anna@"+ours+" 4.3.0")
		l.books.Lock()
		l.reports++
		l.books.Unlock()
	case 10:
		return l.take(portMX, stranger, []string{forwarder}, []byte(letter(stranger, forwarder, "")), shapeReturned, "") != ""
	}
	return true
}

// insist is a server that tries until it has a 250.
func (l *load) insist(ctx context.Context, from, to string, raw []byte, shape, identifier string) {
	for ctx.Err() == nil && l.take(portMX, from, []string{to}, raw, shape, identifier) == "" {
		time.Sleep(2 * time.Millisecond)
	}
}

// take is Postfix' port: when the milter accepts, it has the message in its queue and answers 250. Answered is the queue identifier, ""
// for a 451, which is all that a client hears of an engine that is not there.
func (l *load) take(port, from string, rcpts []string, raw []byte, shape, identifier string) (queueID string) {
	l.mu.Lock()
	id := l.newQueueID()
	l.mu.Unlock()
	options, address, point, user := milter.ClientOptions{ReadTimeout: time.Minute, WriteTimeout: time.Minute}, l.settings.Listen.MilterMX, "incoming", ""
	if port == portSubmission {
		options.ProtocolMask, address, point, user = milter.OptNoBody, l.settings.Listen.MilterSubmit, "access", from
	}
	session, err := milter.NewClientWithOptions("tcp", address, options).Session()
	if err != nil {
		return ""
	}
	defer func() { _ = session.Close() }()
	action, err := tellMilter(session, user, from, rcpts, raw, id)
	if err != nil {
		return ""
	}
	if action.Code != milter.ActContinue {
		l.t.Errorf("%s was answered %c %s", shape, action.Code, action.SMTPText)
		return ""
	}
	if identifier == "" {
		identifier = pec.Identifier(l.settings.Site, id, l.domain)
	}
	l.books.Lock()
	defer l.books.Unlock()
	l.promised = append(l.promised, promise{shape, identifier, rcpts[0]})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enqueueAs(id, point, from, rcpts, raw)
	return id
}

// fillOrEmpty is the holder of the mailbox that is full at times.
func (l *load) fillOrEmpty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = !l.room
	return false
}

// work is one of Postfix' processes with one message of the queue.
func (l *load) work() bool {
	l.books.Lock()
	l.mu.Lock()
	if len(l.queue) == 0 {
		l.mu.Unlock()
		l.books.Unlock()
		return false
	}
	q := l.queue[0]
	l.queue = l.queue[1:]
	l.flying++
	l.mu.Unlock()
	l.books.Unlock()
	done := l.handOver(q)
	l.books.Lock()
	defer l.books.Unlock()
	l.flying--
	if l.answers > 0 && len(done) > 0 {
		if l.answers--; l.answers == 0 {
			_ = l.process.Process.Kill()
		}
	}
	q.rcpts = slices.DeleteFunc(slices.Clone(q.rcpts), func(rcpt string) bool { return done[rcpt] != nil })
	if len(q.rcpts) > 0 {
		l.mu.Lock()
		l.queue = append(l.queue, q)
		l.mu.Unlock()
	}
	return len(done) > 0
}

// handOver gives the engine a message, and is what it answered 250 for.
func (l *load) handOver(q queued) map[string]*smtp.DataResponse {
	address := l.settings.Listen.Incoming
	if q.point == "access" {
		address = l.settings.Listen.Access
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil
	}
	defer conn.Close()
	c := smtp.NewClientLMTP(conn)
	if err := c.Hello("mx.uno.test"); err != nil {
		return nil
	}
	err = c.Mail(q.from, nil)
	for _, rcpt := range q.rcpts {
		err = errors.Join(err, c.Rcpt(rcpt, nil))
	}
	if err != nil {
		return nil
	}
	data, err := c.Data()
	if err != nil {
		return nil
	}
	if _, err := io.Copy(data, bytes.NewReader(q.raw)); err != nil {
		return nil
	}
	done, _ := data.CloseWithLMTPResponse() // who has no 250 is tried again, whatever the reason
	return done
}

// answer is the other side with one message that left the building: a provider that takes, delivers and finds viruses, and a server that
// refuses. What reaches it twice it answers twice.
func (l *load) answer(ctx context.Context) bool {
	l.books.Lock()
	l.mu.Lock()
	if l.seen == len(l.outside) {
		l.mu.Unlock()
		l.books.Unlock()
		return false
	}
	m := l.outside[l.seen]
	l.mu.Unlock()
	l.books.Unlock()
	defer func() {
		l.books.Lock()
		l.seen++
		l.books.Unlock()
	}()
	if m.to == gone {
		l.bounce(m.from, "Original-Envelope-Id: "+m.envid, gone+" 5.1.1")
		return true
	}
	if title(l.t, m.bytes) != string(pec.TypeEnvelope) {
		return true
	}
	signer, p := other(l.t)
	transit := pec.Classify(m.bytes, l.index, l.roots, time.Now()).Certification.Transit
	tell := func(name, to string, raw []byte, err error) {
		if err != nil {
			l.t.Error(err)
		}
		l.insist(ctx, p.ServiceAddress, to, raw, name, transit.Identifier)
	}
	service := "ricevute@" + ours
	if m.to == infectious {
		raw, err := signer.VirusDetection(p, transit, "virus."+transit.Identifier, service, m.to, "Prova", time.Now())
		tell("a virus", service, raw, err)
		return true
	}
	raw, err := signer.TakeCharge(p, transit, "presa."+transit.Identifier, service, []string{m.to}, time.Now())
	tell("a taking in charge", service, raw, err)
	raw, err = signer.Delivery(p, transit, "consegna."+transit.Identifier, m.to, nil, time.Now())
	tell("a delivery", m.from, raw, err)
	return true
}

// settle ends the sending and lets all be worked off; then the full mailbox has room, and gets what waited for it at the next start.
func (l *load) settle() {
	l.t.Helper()
	l.start("")
	l.stopSending()
	l.sending.Wait() // who was not answered insists
	for deadline := time.Now().Add(2 * time.Minute); !l.isQuiet(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			text := l.log.String()
			l.t.Fatalf("%d messages are left in the queue: %s", len(l.queue), text[max(0, len(text)-5000):])
		}
	}
	l.endProcess(syscall.SIGTERM)
	l.stop()
	l.running.Wait()
	l.room, l.now = true, time.Now()
	l.world.start()
	l.engine.doveadmHTTP = newDoveadmHTTP(l.settings.Next.DoveadmHTTP, func() (string, error) { return mailtest.DoveadmKey, nil })
	l.engine.passHeld(context.Background())
	if n := l.engine.held.count(); n > 0 {
		l.t.Errorf("%d messages still wait for a mailbox that has room", n)
	}
}

func (l *load) isQuiet() bool {
	l.books.Lock()
	defer l.books.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) == 0 && l.flying == 0 && l.seen == len(l.outside)
}

// told is what somebody was told in a mailbox, or what lies in it.
type told struct{ mailbox, kind, identifier, about string }

func (l *load) check() {
	l.t.Helper()
	got, want, twice := map[told]int{}, map[told]int{}, map[string][]byte{}
	for mailbox, all := range l.store {
		for _, raw := range all {
			got[l.tells(mailbox, raw)]++
		}
	}
	for _, m := range l.outside { // the other side drops the second of two that have one Message-ID
		if title(l.t, m.bytes) == "" { // sent on as it was
			continue
		}
		id := messageIDOf(l.t, m.bytes) + " " + m.to
		if was, is := twice[id]; !is {
			got[l.tells(m.to, m.bytes)]++
		} else if !bytes.Equal(was, m.bytes) {
			l.t.Errorf("%s was sent as two different documents", id)
		}
		twice[id] = m.bytes
	}
	l.checkTruth(got)
	opened := map[string]int{}
	l.checkCustody(opened)
	lookedAt(l.t, opened)
	for _, p := range l.promised {
		l.expect(want, p)
	}
	for _, p := range l.promised { // Dovecot decides, and changes its mind
		if p.shape == shapeLetter {
			yes, no := told{sender, string(pec.TypeDelivery), p.identifier, fullSender}, told{sender, string(pec.TypeDeliveryError), p.identifier, fullSender}
			if got[yes]+got[no] != 1 {
				l.t.Errorf("%s: of %s its sender was told %d deliveries and %d failures", p.identifier, fullSender, got[yes], got[no])
			}
			delete(got, yes)
			delete(got, no)
			delete(got, told{fullSender, string(pec.TypeEnvelope), p.identifier, ""})
		}
	}
	maps.DeleteFunc(want, func(k told, n int) bool {
		same := got[k] == n
		if same {
			delete(got, k)
		}
		return same
	})
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(told{})); diff != "" {
		l.t.Errorf("of %d messages that were answered 250 (-want +got):\n%.5000s", len(l.promised), diff)
	}
	reports, records := 0, 0
	if err := l.engine.evidence.Each(func(r evidence.Record) error {
		records++
		if r.Kind == kindReport {
			reports++
		}
		return nil
	}); err != nil || reports != l.reports {
		l.t.Errorf("%d of %d reports are kept: %v", reports, l.reports, err)
	}
	l.t.Logf("%d messages were answered 250, %d left the building; %d records", len(l.promised), len(l.outside), records)
}

// tells reads a document as its reader does.
func (l *load) tells(mailbox string, raw []byte) told {
	k := told{mailbox: mailbox, kind: title(l.t, raw)}
	j := pec.Classify(raw, l.index, l.roots, time.Now())
	if j.Type == pec.TypeAnomaly {
		return told{mailbox: mailbox, kind: string(j.Type)}
	}
	if string(j.Type) != k.kind {
		l.t.Errorf("in %s a document that says it is %q is judged %s: %v", mailbox, k.kind, j.Type, j.Errors)
		return k
	}
	k.identifier, k.about = j.Certification.Identifier, fold(j.Certification.Delivery)
	return k
}

// checkTruth compares what was told of our mailboxes with what is in them, whoever was told, and whatever was sent.
func (l *load) checkTruth(got map[told]int) {
	for k, n := range got {
		if domainOf(k.about) != ours {
			continue
		}
		there := got[told{k.about, string(pec.TypeEnvelope), k.identifier, ""}]
		switch pec.Type(k.kind) {
		case pec.TypeDelivery:
			if there != 1 || n != 1 {
				l.t.Errorf("untrue: %d times %s says that %s was delivered to %s, which holds it %d times", n, k.kind, k.identifier, k.about, there)
			}
		case pec.TypeDeliveryError, pec.TypeVirusDetection:
			if there != 0 || n != 1 {
				l.t.Errorf("untrue: %d times %s says that %s did not reach %s, which holds it %d times", n, k.kind, k.identifier, k.about, there)
			}
		}
	}
}

// expect adds what a promise has to end in.
func (l *load) expect(want map[told]int, p promise) {
	add := func(mailbox string, kind pec.Type, about string) {
		want[told{mailbox, string(kind), p.identifier, about}] = 1
	}
	anna := "anna@" + ours
	switch p.shape {
	case shapeLetter:
		add(sender, pec.TypeAcceptance, "")
		add(anna, pec.TypeEnvelope, "")
		add(sender, pec.TypeDelivery, anna)
		add(sender, pec.TypeDeliveryError, "nessuno@"+ours)
		add("bruno@"+theirs, pec.TypeEnvelope, "")
		add(sender, pec.TypeDelivery, "bruno@"+theirs)
		add(infectious, pec.TypeEnvelope, "")
		add(sender, pec.TypeDeliveryError, infectious)
		add(gone, pec.TypeEnvelope, "")
		add(sender, pec.TypeDeliveryError, gone)
	case shapeFull:
		add(fullSender, pec.TypeAcceptance, "")
		add(anna, pec.TypeEnvelope, "")
		add(fullSender, pec.TypeDelivery, anna)
	case shapeInfected, shapeHidden:
		add(sender, pec.TypeNonAcceptance, "")
	case shapeForeign:
		want[told{"ricevute@" + theirs, string(pec.TypeTakeCharge), p.identifier, ""}]++ // of each transaction
		if p.to != anna {
			add(luca, pec.TypeDeliveryError, p.to)
			return
		}
		add(anna, pec.TypeEnvelope, "")
		add(luca, pec.TypeDelivery, anna)
	case shapeDirty:
		add("ricevute@"+theirs, pec.TypeVirusDetection, anna)
	case shapeOrdinary:
		want[told{"aperta@" + ours, string(pec.TypeAnomaly), "", ""}]++
	case shapeReturned:
		want[told{forwarder, string(pec.TypeAnomaly), "", ""}]++
	}
}
