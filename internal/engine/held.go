package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// heldEvery is how often it is seen whether there is room again.
const heldEvery = time.Minute

// errUnrecorded is of one that came from a log which is not here any more.
var errUnrecorded = errors.New("no log that is here tells of it")

// heldData is a message that its mailbox does not take now, and whose sender nobody tells: a receipt, a notice, or an anomaly envelope
// that was taken when there was still room. A receipt for a receipt does not exist, so that refusing it would lose it for good. It waits
// in custody and is delivered when the mailbox takes it, for as long as the log holds the record.
type heldData struct {
	deliveryData
	// From, Signer and Spam are what a delivery needs beside the message.
	From   string `json:"from"`
	Signer string `json:"signer"` // what deliveryKey derives from
	Size   int64  `json:"size"`
	Spam   *spam  `json:"spam,omitempty"`
}

// delivery is the one that was put off, for the bytes in custody.
func (h heldData) delivery(raw []byte) delivery {
	d := delivery{from: h.From, rcpt: h.Mailbox, raw: raw, spam: h.Spam, offQueue: true}
	d.judgement = pec.Judgement{Type: h.Type, Provider: pec.IndexEntry{Name: h.Provider, MailReceipt: h.Signer}, MessageID: h.MessageID}
	if h.Transit != nil {
		d.judgement.Certification = &pec.Certification{Type: h.Type, Transit: h.Transit.transit()}
	}
	return d
}

// held are the messages of both sites that wait: a view of the logs.
type held struct {
	mu  sync.Mutex
	all map[string]heldMessage // by deliveryKey
}

type heldMessage struct {
	key, mailbox, site string
	at                 time.Time
	size               int64
	said               bool // that it never fits
}

// add answers false for one that waits already. Of two sites that hold the same, the one whose name sorts first delivers it.
func (h *held) add(m heldMessage) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, there := h.all[m.key]
	if !there || m.site < was.site {
		h.all[m.key] = m
	}
	return !there
}

func (h *held) end(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, key)
}

// sayOnce says whether nobody was told yet, since the start, of one that waits and never fits.
func (h *held) sayOnce(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, there := h.all[key]
	was := m.said
	if m.said = true; there {
		h.all[key] = m
	}
	return there && !was
}

func (h *held) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// byMailbox are those that may be delivered, in the order in which they came.
func (h *held) byMailbox(may func(heldMessage) bool) map[string][]heldMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := map[string][]heldMessage{}
	for _, m := range h.all {
		if may(m) {
			list[m.mailbox] = append(list[m.mailbox], m)
		}
	}
	for _, of := range list {
		slices.SortFunc(of, func(a, b heldMessage) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.key, b.key)) })
	}
	return list
}

// waits says whether what was refused may be taken later: the mailbox is there, and is full or takes nothing. The sender of an envelope is
// told, and never hears of it again. Pure.
func (f failure) waits(t pec.Type) bool {
	return t != pec.TypeEnvelope && f.Threat == "" && (f.Status == statusDisabled || f.Status == statusFull)
}

// hold keeps a message until its mailbox takes it. Repeated for one that waits, it changes nothing.
func (e *Engine) hold(d delivery, key string, why failure) error {
	digest, err := e.custody.Put(d.raw)
	if err != nil {
		return err
	}
	h := heldData{deliveryData: d.data(), From: d.from, Signer: d.judgement.Provider.MailReceipt, Size: int64(len(d.raw)), Spam: d.spam}
	h.Digest, h.Reply = digest, why.Status+" "+why.Text
	at, err := e.record(kindHeld, key, d.identifier(), &h)
	if err != nil {
		return err
	}
	if e.held.add(heldMessage{key: key, mailbox: h.Mailbox, site: e.settings.Site, at: at, size: h.Size}) {
		e.metrics.deliveries.WithLabelValues("held").Inc()
	}
	return nil
}

func (e *Engine) rememberHeld(site string, r evidence.Record) error {
	var h heldData
	if err := r.Decode(&h); err != nil {
		return err
	}
	e.held.add(heldMessage{key: r.Key, mailbox: h.Mailbox, site: site, at: r.Time, size: h.Size})
	ended, err := e.endedHeld(r.Key) // the record of that may be in a log that is read before this one
	if ended {
		e.held.end(r.Key)
	}
	return err
}

// endedHeld says whether either site delivered what was held under a key, or never will.
func (e *Engine) endedHeld(key string) (ended bool, err error) {
	for _, kind := range []string{kindDelivered, kindUndeliverable} {
		if ended, err = e.known(kind, key, nil); err != nil || ended {
			break
		}
	}
	return ended, err
}

func (e *Engine) runHeld(ctx context.Context) error {
	tick := time.NewTicker(heldEvery)
	defer tick.Stop()
	for {
		e.passHeld(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// passHeld delivers what waits and fits, and what was sent on and came back. What the other site holds is its own to deliver, until that
// site is gone.
func (e *Engine) passHeld(ctx context.Context) {
	e.passOwed(ctx)
	knows, now := e.hearing(), e.now()
	may := func(m heldMessage) bool { return knows.mayAct(now, m.at, 0, m.site != e.settings.Site) }
	for mailbox, list := range e.held.byMailbox(may) {
		if err := e.releaseAll(ctx, mailbox, list); err != nil && ctx.Err() == nil {
			e.log.Warn("delivering what waited for a mailbox", "mailbox", mailbox, "error", err)
		}
	}
}

// releaseAll delivers to one mailbox until it refuses again, or Dovecot is not there. Dovecot decides what fits; its usage is asked so that
// a full mailbox does not cost the transfer of all that waits for it, and a large message does not hold up the small ones behind it. Nor
// does one that cannot be delivered at all, because its copy was lost with the other site.
func (e *Engine) releaseAll(ctx context.Context, mailbox string, list []heldMessage) error {
	closed, err := e.mailboxFailure(mailbox)
	if err != nil || closed != nil && closed.waits("") {
		return err
	}
	room, quota := int64(0), int64(0)
	if closed == nil {
		row, err := e.directory.Mailbox(ctx, mailbox)
		if err != nil {
			return err
		}
		used, err := e.doveadmHTTP.usage(ctx, mailbox)
		if err != nil {
			return err
		}
		room, quota = row.QuotaBytes-used.Bytes, row.QuotaBytes
	}
	var errs error
	for _, m := range list {
		if closed == nil && m.size > room { // what the mailbox will never take gets its end without being looked at
			if m.size >= quota && e.held.sayOnce(m.key) {
				e.log.Error("what waits for a mailbox is larger than the whole mailbox; give it a larger quota", "mailbox", mailbox, "bytes", m.size, "quota", quota, "message", m.key)
			}
			continue
		}
		taken, err := e.release(m)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("delivering the held message %s: %w", m.key, err))
		} else {
			room -= m.size
		}
		if !taken && err == nil || unreachable(err) || ctx.Err() != nil {
			break
		}
	}
	return errs
}

// unreachable says whether nobody answered, so that the next question would fare no better.
func unreachable(err error) bool {
	var broken *net.OpError
	return errors.As(err, &broken) || errors.Is(err, io.EOF)
}

// release tries one that waits, and answers false if it still does.
func (e *Engine) release(m heldMessage) (ended bool, err error) {
	var h heldData
	if found, err := e.known(kindHeld, m.key, &h); err != nil || !found {
		return false, cmp.Or(err, errUnrecorded)
	}
	raw, done, err := e.inCustody(h.Digest)
	if err != nil {
		return false, err
	}
	defer done()
	if err := e.deliver(h.delivery(raw)); err != nil {
		return false, err
	}
	if ended, err = e.endedHeld(m.key); ended {
		e.held.end(m.key)
	}
	return ended, err
}
