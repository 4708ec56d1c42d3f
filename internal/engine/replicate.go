package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
)

// Each engine asks the other for its records, over a connection of the peer link that begins with "records". It asks
//
//	chains                        the names of the logs that the other holds, its own first, one a line, and "."
//	after <log> <record> <hash>   what comes behind that record ("0 -" from the beginning)
//
// and is answered "from <record> <hash> <bytes> <records>" with so many bytes of whole lines behind that record, and how many
// records that log had before they were read; or "elsewhere" if the log does not hold the record. Of its own log an engine waits
// for news before it answers with nothing. What is asked for is what the asker has on disk: the question is also the receipt.
//
// An engine takes in what follows, byte for byte, and nothing else: a record that does not follow stops the replication and is told
// to the operator. Nothing that the other site says, or does not hold, is an order to forget.
const (
	verbRecords = "records"
	// newsEvery is how long a question waits for news.
	newsEvery = 5 * time.Second
	// relistEvery is how often the other site's logs are listed anew.
	relistEvery = 10 * time.Minute
	// pieceSize is about how much is sent at once, and maxPiece how much is taken, in bytes: one record may be larger than a piece.
	pieceSize = 1 << 20
	maxPiece  = 18 << 20
	// peerRequest bounds the wait for a question, and peerTransfer that for its answer.
	peerRequest  = time.Minute
	peerTransfer = 10 * time.Minute
	// retryLongest is the longest wait before the other site is asked again.
	retryLongest = 30 * time.Second
	// keepFree of the volume stays for this engine's own log: a mirror must not be why a site stops taking mail.
	keepFree = 512 << 20
	// silentAfter is when the other site counts as silent.
	silentAfter = time.Minute
)

var (
	errElsewhere = errors.New("its log does not hold that record")
	errFull      = errors.New("the volume is nearly full, and what is free is kept for the site's own log: enlarge the engine's volume")
)

// runReplica keeps asking until the context ends.
func (e *Engine) runReplica(ctx context.Context, what string, ask func(context.Context) error) error {
	failures := 0
	for ctx.Err() == nil {
		wait := e.replica.news
		if e.hasPeer(ctx) {
			begun := e.now()
			within, done := e.tenure.within(ctx)
			err := ask(within)
			done()
			if e.now().Sub(begun) > retryLongest {
				failures = 0
			}
			if err != nil && ctx.Err() == nil {
				e.replica.failed(what, err)
				e.log.Warn("replicating "+what, "failures", failures+1, "error", err)
			}
			wait = jittered(min(retryLongest, time.Second<<min(failures, 10)))
			failures++
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// pull asks the other site for records until something fails.
func (e *Engine) pull(ctx context.Context) error {
	w, peer, err := e.dialPeer(ctx, verbRecords)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	defer context.AfterFunc(ctx, func() { _ = w.Close() })()
	e.replica.reached(e.now())
	for {
		live, former, err := e.askLogs(w, peer)
		if err != nil {
			return err
		}
		for _, name := range former {
			for caughtUp := false; !caughtUp; {
				if caughtUp, err = e.pullSome(ctx, w, name); errors.Is(err, errElsewhere) {
					break // of a log that nobody writes any more this site has more
				} else if err != nil {
					return err
				}
			}
		}
		for relist := e.now().Add(relistEvery); e.now().Before(relist); {
			asked := e.now()
			caughtUp, err := e.pullSome(ctx, w, live)
			if errors.Is(err, errElsewhere) && e.mirrors.of(live) != nil {
				e.log.Error("the other site's log does not hold what is mirrored here any more: the mirror is set aside, and a new one begun", "log", live)
				if err = e.mirrors.setAside(live); err == nil {
					continue
				}
			}
			if err != nil {
				return err
			}
			if caughtUp {
				if err := e.recall(ctx); err != nil {
					return err
				}
				e.caughtUp(asked)
			}
		}
	}
}

// caughtUp notes that all is here that the other site had recorded at an instant, and has done what waited for that.
func (e *Engine) caughtUp(at time.Time) {
	wasSilent := !e.replica.speaks(e.now())
	if e.replica.caughtUp(at); wasSilent {
		e.syncDoubles("")
	}
}

// askLogs lists the logs to mirror: the other site's own, and the former ones that it holds of either site.
func (e *Engine) askLogs(w *wire, peer admin.Peer) (live string, former []string, err error) {
	_ = w.SetDeadline(time.Now().Add(peerRequest))
	if err := w.writeLine("chains"); err != nil {
		return "", nil, err
	}
	for len(former) <= maxMirrors {
		name, err := w.readLine()
		switch site := evidence.SiteOf(name); {
		case err != nil:
			return "", nil, err
		case name == ".":
			return live, former, nil
		case live == "" && site == peer.Site:
			live = name
		case live == "" || site != peer.Site && site != e.settings.Site:
			return "", nil, fmt.Errorf("the peer names %q as a log", name)
		case name != e.logName:
			former = append(former, name)
		}
	}
	return "", nil, errors.New("the peer names too many logs")
}

// pullSome takes in the next records of one log, and says whether these are all that it had.
func (e *Engine) pullSome(ctx context.Context, w *wire, name string) (caughtUp bool, err error) {
	if err := e.roomLeft(); err != nil {
		return false, err
	}
	m, at := e.mirrors.of(name), evidence.Position{}
	if m != nil {
		at = m.Head()
	}
	answer, err := askAfter(w, name, at)
	if err != nil {
		return false, err
	}
	if m == nil {
		if m, err = e.mirrors.open(name, answer.base); err != nil {
			return false, err
		}
	}
	if m.Head() != answer.base {
		return false, fmt.Errorf("the peer answered from record %d of %s, asked was from %d", answer.base.Seq, name, at.Seq)
	}
	taken, err := m.Extend(answer.lines)
	if err != nil {
		return false, e.replica.broke(fmt.Errorf("mirroring %s: %w", name, err))
	}
	if len(taken) > 0 {
		e.receiveRecords(ctx, name, taken)
		e.replica.copySoon()
	}
	return m.Head().Seq >= answer.records, nil
}

// receiveRecords takes in records that have just come to the disk here. One that cannot be taken in holds up no other.
func (e *Engine) receiveRecords(ctx context.Context, logName string, taken []evidence.Record) {
	defer e.replica.takingIn()()
	for _, r := range taken {
		if err := e.receiveRecord(ctx, logName, r); err != nil {
			e.log.Error("taking in a record of the other site", "log", logName, "record", r.Seq, "error", err)
		}
	}
	e.replica.recordsCame(e.now())
}

// recordsAnswer is what the other site has of a log behind a record.
type recordsAnswer struct {
	base    evidence.Position // that record
	lines   []byte
	records uint64 // of the whole log, before these were read
}

// askAfter asks for the records of a log behind a position.
func askAfter(w *wire, name string, at evidence.Position) (recordsAnswer, error) {
	_ = w.SetDeadline(time.Now().Add(peerRequest))
	if err := w.writeLine(fmt.Sprintf("after %s %s", name, positionText(at))); err != nil {
		return recordsAnswer{}, err
	}
	line, err := w.readLine()
	if err != nil {
		return recordsAnswer{}, err
	}
	if line == "elsewhere" {
		return recordsAnswer{}, errElsewhere
	}
	fields := strings.Fields(line)
	if len(fields) != 5 || fields[0] != "from" {
		return recordsAnswer{}, fmt.Errorf("the peer answered %q", line)
	}
	base, err := parsePosition(fields[1], fields[2])
	size, wrongSize := strconv.ParseInt(fields[3], 10, 64)
	records, wrongCount := strconv.ParseUint(fields[4], 10, 64)
	if err = errors.Join(err, wrongSize, wrongCount); err != nil || size < 0 || size > maxPiece {
		return recordsAnswer{}, fmt.Errorf("the peer answered %q: %w", line, err)
	}
	_ = w.SetDeadline(time.Now().Add(peerTransfer))
	var lines bytes.Buffer // grows with what comes, not with what was announced
	if _, err := io.CopyN(&lines, w, size); err != nil {
		return recordsAnswer{}, fmt.Errorf("reading records of %s: %w", name, err)
	}
	return recordsAnswer{base: base, lines: lines.Bytes(), records: records}, nil
}

func positionText(p evidence.Position) string {
	if p.Head == "" {
		return "0 -"
	}
	return fmt.Sprintf("%d %s", p.Seq, p.Head)
}

func parsePosition(seq, head string) (evidence.Position, error) {
	n, err := strconv.ParseUint(seq, 10, 64)
	switch {
	case err != nil:
		return evidence.Position{}, err
	case n == 0 && head == "-":
		return evidence.Position{}, nil
	case n == 0 || !evidence.IsDigest(head):
		return evidence.Position{}, fmt.Errorf("%s %s is no place in a log", seq, head)
	}
	return evidence.Position{Seq: n, Head: head}, nil
}

// receiveRecord takes in a record of the other site, or of a former log of this one, that has just come to the disk here, and makes act what
// it changes.
func (e *Engine) receiveRecord(ctx context.Context, logName string, r evidence.Record) error {
	if err := e.takeInOrKeepBack(logName, r); err != nil {
		return err
	}
	var of struct {
		Address string `json:"address"`
	}
	if r.Kind != kindChoice && r.Kind != kindPlacement && r.Kind != kindStanding && r.Kind != kindCompared {
		return nil
	}
	if err := r.Decode(&of); err != nil {
		return err
	}
	if r.Kind == kindCompared {
		e.rowDigests.touch(of.Address)
		return nil
	}
	if err := e.deriveOrLater(ctx, of.Address); err != nil {
		return err
	}
	e.endSessionsOf(ctx, of.Address)
	return nil
}

// roomLeft says whether what comes from the other site may use more of the volume.
func (e *Engine) roomLeft() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(e.settings.Files.State, &fs); err != nil {
		return fmt.Errorf("asking for the room on the volume: %w", err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < e.replica.reserve { //nolint:gosec // a block has a size
		return errFull
	}
	return nil
}

// answerRecords answers the other site's questions for records until it hangs up.
func (e *Engine) answerRecords(ctx context.Context, w *wire) error {
	readers := map[string]*evidence.Reader{}
	for {
		fields, err := nextRequest(w)
		if err != nil || fields == nil {
			return err
		}
		switch {
		case len(fields) == 1 && fields[0] == "chains":
			err = w.writeLine(strings.Join(append(e.logNames(), "."), "\n"))
		case len(fields) == 4 && fields[0] == "after":
			var at evidence.Position
			if at, err = parsePosition(fields[2], fields[3]); err == nil {
				err = e.answerAfter(ctx, w, readers, fields[1], at)
			}
		default:
			err = fmt.Errorf("the peer asked %q", fields)
		}
		if err != nil {
			return err
		}
	}
}

// nextRequest is the next line of the other site in words, none at the end of the connection.
func nextRequest(w *wire) ([]string, error) {
	_ = w.SetDeadline(time.Now().Add(peerRequest))
	line, err := w.readLine()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_ = w.SetDeadline(time.Now().Add(peerTransfer))
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return nil, errors.New("the peer asked nothing")
	}
	return fields, nil
}

// logNames are the names of the logs that are here, the engine's own first.
func (e *Engine) logNames() []string {
	names := []string{e.logName}
	for _, m := range e.mirrors.all() {
		names = append(names, m.name)
	}
	return names
}

// readable is a log that another engine may read on.
type readable interface {
	After(p evidence.Position) (*evidence.Reader, error)
	Written() (records uint64, more <-chan struct{})
	SealFile(digest string) ([]byte, error)
}

// logOf is the log of a name, nil if it is not here.
func (e *Engine) logOf(name string) readable {
	if name == e.logName {
		return e.evidence
	}
	if m := e.mirrors.of(name); m != nil {
		return m
	}
	return nil
}

// answerAfter gives the records of a log behind a position. readers are those that are open, by the log's name.
func (e *Engine) answerAfter(ctx context.Context, w *wire, readers map[string]*evidence.Reader, name string, at evidence.Position) error {
	log := e.logOf(name)
	if log == nil {
		return w.writeLine("elsewhere")
	}
	reader := readers[name]
	if reader == nil || reader.At() != at {
		var err error
		if reader, err = log.After(at); errors.Is(err, evidence.ErrElsewhere) {
			return w.writeLine("elsewhere")
		} else if err != nil {
			return err
		}
		readers[name] = reader
	}
	if name == e.logName {
		e.replica.peerHolds(at.Seq)
		e.awaitNews(ctx, reader.At().Seq)
	}
	records, _ := log.Written()
	base := reader.At()
	lines, err := reader.Next(pieceSize)
	if err != nil {
		return err
	}
	if err := w.writeLine(fmt.Sprintf("from %s %d %d", positionText(base), len(lines), records)); err != nil {
		return err
	}
	_, err = w.Write(lines)
	return err
}

// awaitNews waits, not for long, for a record behind that number.
func (e *Engine) awaitNews(ctx context.Context, seq uint64) {
	records, more := e.evidence.Written()
	if records > seq {
		return
	}
	timer := time.NewTimer(e.replica.news)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-more:
	case <-timer.C:
	}
}

// replication is what the operator is told.
func (e *Engine) replication() admin.Replication {
	s := e.replica.state()
	records, _ := e.evidence.Written()
	s.RecordsBehind = records - min(records, s.PeerHolds)
	for _, m := range e.mirrors.all() {
		s.Mirrors = append(s.Mirrors, admin.Mirror{Log: m.name, Records: m.Head().Seq})
	}
	return s
}

// prepareMirrors opens the mirrors and names the engine's own log.
func (e *Engine) prepareMirrors(dir string) error {
	var err error
	if e.logName, err = e.evidence.Identity(e.settings.Site); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of the mirrors: %w", err)
	}
	e.mirrors, err = openMirrors(dir, e.now, func(name string, err error) {
		e.log.Error("a mirror is damaged and was set aside; the other site sends it again", "log", name, "error", err)
	})
	return err
}
