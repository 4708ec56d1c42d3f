package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// The messages that the records name are copied behind the records, over a connection that begins with "copies". The site that
// wants a copy asks
//
//	copy <log> <record> <digest>   all that the log names up to that record is in custody here; now this one
//	copied <log> <record>          likewise, and nothing is wanted now
//
// and is answered "<bytes>" with so many bytes, or "-" if the copy is not there or damaged; and "ok". So the other site knows what
// is on disk in both. A copy is named by its SHA-256, and is that message or is not taken. So are the files of the log's seals, which its
// records name in the same way.
const (
	verbCopies = "copies"
	// copyPatience is how long a delivery waits for its copy at the other site before its receipt says that it is pending: mail
	// must go on at one site whatever becomes of the other.
	copyPatience = 2 * time.Second
	// copyFar is how many records the copies may be behind for a wait to make sense.
	copyFar = 512
	// maxCopy bounds a message that is copied, in bytes: the largest that is certified, with all that goes around it, is well below.
	maxCopy = 512 << 20
	// maxSealFile bounds a file of a seal, in bytes: the largest is a signature with its chain.
	maxSealFile = 1 << 20
	// noteEvery is how often what was copied is noted on disk; what is not is looked for again after a restart.
	noteEvery = 5 * time.Second
)

// What the evidence of a delivery says of the other site's copy.
const (
	replicaCopied  = "copied"
	replicaPending = "pending" // until a record of kind replicated
)

// replicated is a copy that reached the other site after the receipt had gone.
type replicated struct {
	Mailbox string `json:"mailbox"`
	Digest  string `json:"digest"`
}

// namesOf are the custody copies that a record names.
func namesOf(r evidence.Record) (digests []string) {
	switch r.Kind {
	case kindAccepted, kindRefused, kindNotice, kindDelivering, kindHeld, kindForwarding, kindUndeliverable, kindReport, kindInfected, kindManifest:
	default:
		return nil
	}
	var named struct{ Envelope, Infected, Digest string }
	if err := r.Decode(&named); err != nil {
		return nil // kept as it is; there is nothing to copy
	}
	for _, digest := range []string{named.Envelope, named.Infected, named.Digest} {
		if evidence.IsDigest(digest) && !slices.Contains(digests, digest) {
			digests = append(digests, digest)
		}
	}
	return digests
}

// copying is how far the messages of one mirror are copied. It runs ahead of what the mirror has on disk of it.
type copying struct {
	evidence.Copied
	reader *evidence.Reader
	noted  time.Time
	// sealed says that there may be files of seals that are not here; unsealed is how many could not be had.
	sealed   bool
	unsealed int
}

// copyAll asks the other site for the messages that its records name until something fails.
func (e *Engine) copyAll(ctx context.Context) error {
	w, _, err := e.dialPeer(ctx, verbCopies)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	defer context.AfterFunc(ctx, func() { _ = w.Close() })()
	under := map[*evidence.Mirror]*copying{}
	defer e.noteCopied(under)
	for again := e.now().Add(relistEvery); e.now().Before(again); {
		idle := true
		for _, m := range e.mirrors.all() {
			c := under[m.Mirror]
			if c == nil {
				if c, err = e.beginCopying(w, m); err != nil {
					return err
				}
				under[m.Mirror] = c
			}
			some, err := e.copySome(w, m, c)
			if err != nil {
				return err
			}
			idle = idle && !some
		}
		e.replica.lack(under)
		if idle && !e.awaitRecords(ctx) {
			return nil
		}
	}
	return nil
}

// beginCopying goes on where it was left, and tries again what was lacking.
func (e *Engine) beginCopying(w *wire, m *mirror) (*copying, error) {
	from := m.Copied()
	c := &copying{Copied: evidence.Copied{Seq: from.Seq}, noted: e.now(), sealed: true}
	for _, digest := range from.Lacking {
		if err := e.copyOne(w, m.name, c, digest); err != nil {
			return nil, err
		}
	}
	var err error
	c.reader, err = m.Behind(c.Seq)
	return c, err
}

// copySome copies what the next records of a mirror name, and tells the other site; it answers false if there were none.
func (e *Engine) copySome(w *wire, m *mirror, c *copying) (bool, error) {
	records, err := c.reader.Records(pieceSize)
	if err != nil {
		return false, err
	}
	for _, r := range records {
		for _, digest := range namesOf(r) {
			if err := e.copyOne(w, m.name, c, digest); err != nil {
				return false, err
			}
		}
		c.Seq = r.Seq
		c.sealed = c.sealed || r.Kind == evidence.KindSealed || r.Kind == evidence.KindStamped
	}
	if c.sealed && len(records) == 0 { // messages first: mail waits for those
		if err := e.copySeals(w, m, c); err != nil {
			return false, err
		}
	}
	if e.now().Sub(c.noted) > noteEvery && m.Copied().Seq != c.Seq {
		c.noted = e.now()
		if err := m.SetCopied(c.Copied); err != nil {
			return false, err
		}
	}
	_ = w.SetDeadline(time.Now().Add(peerRequest))
	return len(records) > 0, w.exchange(fmt.Sprintf("copied %s %d", m.name, c.Seq), peerOK)
}

// copyOne gets one message into custody, unless it is there. One that cannot be had holds up no other: it is lacking.
func (e *Engine) copyOne(w *wire, logName string, c *copying, digest string) error {
	if e.custody.Has(digest) || slices.Contains(c.Lacking, digest) {
		return nil
	}
	if err := e.roomLeft(); err != nil {
		return err
	}
	size, there, err := askCopy(w, logName, c.Seq, digest, maxCopy)
	if err != nil {
		return err
	}
	if !there {
		e.log.Error("a message of the other site is not in its custody, or damaged", "log", logName, "custody", digest)
		c.Lacking = append(c.Lacking, digest)
		return nil
	}
	content := &io.LimitedReader{R: w, N: size}
	err = e.custody.Take(digest, content)
	switch {
	case content.N > 0:
		return fmt.Errorf("copying %s: the connection ended: %w", digest, errors.Join(io.ErrUnexpectedEOF, err))
	case errors.Is(err, evidence.ErrOther):
		e.log.Error("the other site offers another content under the name of a message; it was not taken", "log", logName, "custody", digest)
		e.replica.diverged()
		c.Lacking = append(c.Lacking, digest)
		return nil
	case err != nil:
		return err
	}
	e.syncDoubles(digest)
	return nil
}

// askCopy asks for what has a SHA-256, and answers how many bytes of it follow.
func askCopy(w *wire, logName string, seq uint64, digest string, most int64) (size int64, there bool, err error) {
	_ = w.SetDeadline(time.Now().Add(peerTransfer))
	if err := w.writeLine(fmt.Sprintf("copy %s %d %s", logName, seq, digest)); err != nil {
		return 0, false, err
	}
	answer, err := w.readLine()
	if err != nil || answer == "-" {
		return 0, false, err
	}
	if size, err = strconv.ParseInt(answer, 10, 64); err != nil || size < 0 || size > most {
		return 0, false, fmt.Errorf("the peer answered %q for a copy", answer)
	}
	return size, true, nil
}

// copySeals gets the files of the seals that the mirror's records name: the other site's closed days can then be proved here. One that cannot
// be had, or does not fit, is asked for again over the next connection.
func (e *Engine) copySeals(w *wire, m *mirror, c *copying) error {
	lacking, err := m.LackingSeals()
	if err != nil {
		return fmt.Errorf("looking for the seals of %s: %w", m.name, err)
	}
	c.sealed, c.unsealed = false, 0
	for _, f := range lacking {
		if err := e.roomLeft(); err != nil {
			return err
		}
		size, there, err := askCopy(w, m.name, c.Seq, f.Digest, maxSealFile)
		if err != nil {
			return err
		}
		if !there {
			e.log.Error("the other site cannot give a file of its seals", "log", m.name, "file", f.Name())
			c.unsealed++
			continue
		}
		content := make([]byte, size)
		if _, err := io.ReadFull(w, content); err != nil {
			return fmt.Errorf("copying %s: the connection ended: %w", f.Name(), err)
		}
		switch err := m.TakeSeal(f, content); {
		case errors.Is(err, evidence.ErrOther):
			e.log.Error("a seal of the other site does not fit the records that are mirrored here; it was not taken", "log", m.name, "error", err)
			e.replica.diverged()
			c.unsealed++
		case err != nil:
			return err
		}
	}
	return nil
}

// noteCopied keeps what was copied for the next connection.
func (e *Engine) noteCopied(under map[*evidence.Mirror]*copying) {
	for _, m := range e.mirrors.all() {
		c := under[m.Mirror]
		if c == nil {
			continue
		}
		if err := m.SetCopied(c.Copied); err != nil {
			e.log.Error("noting what was copied", "log", m.name, "error", err)
		}
	}
}

// awaitRecords waits, not for long, for records whose messages are to be copied; false at the end of the context.
func (e *Engine) awaitRecords(ctx context.Context) bool {
	timer := time.NewTimer(e.replica.news)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-e.replica.wake:
	case <-timer.C:
	}
	return true
}

func (r *replica) lack(under map[*evidence.Mirror]*copying) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lacking = 0
	for _, c := range under {
		r.lacking += len(c.Lacking) + c.unsealed
	}
	delete(r.faults, verbCopies)
}

func (r *replica) diverged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.divergent++
}

// answerCopies gives the other site the messages that it asks for until it hangs up.
func (e *Engine) answerCopies(w *wire) error {
	e.replica.linked(1)
	defer e.replica.linked(-1)
	for {
		fields, err := nextRequest(w)
		if err != nil || fields == nil {
			return err
		}
		if len(fields) < 3 {
			return fmt.Errorf("the peer asked %q", fields)
		}
		seq, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("the peer asked %q: %w", fields, err)
		}
		if fields[1] == e.logName {
			e.replica.peerCopied(seq)
		}
		switch {
		case len(fields) == 3 && fields[0] == "copied":
			err = w.writeLine(peerOK)
		case len(fields) == 4 && fields[0] == "copy":
			err = e.giveCopy(w, fields[1], fields[3])
		default:
			err = fmt.Errorf("the peer asked %q", fields)
		}
		if err != nil {
			return err
		}
	}
}

func (e *Engine) giveCopy(w *wire, logName, digest string) error {
	if !evidence.IsDigest(digest) {
		return fmt.Errorf("the peer asked for a copy named %q", digest)
	}
	if log := e.logOf(logName); log != nil && !e.custody.Has(digest) {
		if seal, err := log.SealFile(digest); err == nil {
			_, err = fmt.Fprintf(w.Conn, "%d\n%s", len(seal), seal)
			return err
		}
	}
	f, err := e.custody.Open(digest)
	if err != nil {
		e.replica.unable(digest)
		e.log.Error("giving the other site a copy", "error", err)
		return w.writeLine("-")
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("giving the other site a copy: %w", err)
	}
	if err := w.writeLine(strconv.FormatInt(info.Size(), 10)); err != nil {
		return err
	}
	if _, err = io.Copy(w.Conn, f); err == nil {
		e.replica.able(digest)
	}
	return err
}

func (r *replica) linked(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links += n; n > 0 {
		r.copied = 0 // until this connection says it: behind it may be a site that was rebuilt
	}
	r.move()
}

// peerCopied notes up to which record of this engine's log the other site has what the records name.
func (r *replica) peerCopied(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq > r.copied {
		r.slow = false
	}
	r.copied = seq
	r.move()
}

func (r *replica) unable(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unserved[digest] = true
	r.move()
}

func (r *replica) able(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.unserved, digest)
}

// move wakes who waits; it is called with the lock held.
func (r *replica) move() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// await waits until the other site has what a record names, but not longer than patience in all, and not at all when there is
// nothing to hope for.
func (r *replica) await(seq uint64, digest string) bool {
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	for {
		r.mu.Lock()
		moved, done := r.moved, seq <= r.both()
		hopeless := r.unserved[digest] || !done && (r.links == 0 || r.slow || r.both()+copyFar < seq)
		r.mu.Unlock()
		if hopeless || done {
			return done && !hopeless
		}
		select {
		case <-moved:
		case <-timer.C:
			r.mu.Lock()
			r.slow = true
			r.mu.Unlock()
			return false
		}
	}
}

// awaitCopy says for the evidence of a delivery whether the other site has the message too; "" when there is no other site, and for
// what no receipt follows.
func (e *Engine) awaitCopy(d delivery, key string) (string, error) {
	if d.judgement.Type != pec.TypeEnvelope || !e.hasPeer(context.Background()) {
		return "", nil
	}
	r, found, err := e.journal.Get(kindDelivering, key)
	if err == nil && !found { // a former log of this site has it
		if err = e.beginDelivery(d, key); err == nil {
			r, _, err = e.journal.Get(kindDelivering, key)
		}
	}
	if err != nil {
		return "", err
	}
	var begun deliveryData
	if err := r.Decode(&begun); err != nil {
		return "", err
	}
	if e.replica.await(r.Seq, begun.Digest) {
		return replicaCopied, nil
	}
	return replicaPending, nil
}

// rememberPending puts a delivery whose copy was pending on the list.
func (e *Engine) rememberPending(r evidence.Record) error {
	var data deliveryData
	if err := r.Decode(&data); err != nil || data.Replica != replicaPending {
		return err
	}
	return e.pendCopy(r.Key)
}

func (e *Engine) pendCopy(key string) error {
	begun, found, err := e.journal.Get(kindDelivering, key)
	if err == nil && found {
		e.replica.pend(key, begun.Seq)
	}
	return err
}

func (r *replica) pend(key string, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending[key] = seq
}

func (r *replica) repaired(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, key)
}

// repairable are the pending deliveries whose copy is at the other site now.
func (r *replica) repairable() (keys []string, moved <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, seq := range r.pending {
		if seq <= r.both() {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, r.moved
}

func (r *replica) isUnserved(digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unserved[digest]
}

// runRepair records, until the context ends, which pending copies have come to the other site.
func (e *Engine) runRepair(ctx context.Context) error {
	for {
		moved := e.repair()
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		}
	}
}

func (e *Engine) repair() (moved <-chan struct{}) {
	keys, moved := e.replica.repairable()
	for _, key := range keys {
		if err := e.repairOne(key); err != nil {
			e.log.Error("recording that a copy is at the other site", "key", key, "error", err)
		}
	}
	return moved
}

func (e *Engine) repairOne(key string) error {
	r, found, err := e.journal.Get(kindDelivering, key)
	if err != nil || !found {
		return err
	}
	var begun deliveryData
	if err := r.Decode(&begun); err != nil || e.replica.isUnserved(begun.Digest) {
		return err
	}
	if _, err := e.record(kindReplicated, key, r.Identifier, &replicated{Mailbox: begun.Mailbox, Digest: begun.Digest}); err != nil {
		return err
	}
	e.replica.repaired(key)
	return nil
}
