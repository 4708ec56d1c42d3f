package engine

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// forwarding is ordinary mail that a mailbox has sent on, as it is recorded before Postfix gets it: all that its own mailbox needs to get
// it instead, if it comes back. Its sender is a stranger and has his 250: he is told nothing.
type forwarding struct {
	Mailbox    string    `json:"mailbox"`
	To         string    `json:"to"`
	QueueID    string    `json:"queueID"`
	From       string    `json:"from"`
	Recipients []string  `json:"recipients"`
	Reasons    []string  `json:"reasons"`
	At         time.Time `json:"at"` // when it was taken
	Spam       *spam     `json:"spam"`
	Size       int64     `json:"size"`
	Digest     string    `json:"digest"` // custody, with the Received field that our Postfix put on top
}

// forward sends a message on. id is what Postfix names in the bounce.
func (e *Engine) forward(o uncertified, rcpt, to, id string) error {
	digest, err := e.custody.Put(o.raw)
	if err != nil {
		return err
	}
	f := forwarding{Mailbox: rcpt, To: to, QueueID: o.queueID, From: o.from, Recipients: o.rcpts, Reasons: o.judgement.Errors, At: o.at, Spam: o.spam}
	f.Size, f.Digest = int64(len(o.raw)), digest
	at, err := e.record(kindForwarding, id, "", &f)
	if err != nil {
		return err
	}
	e.forwards.add(rcpt, id, f.Size, at, e.now())
	return e.sendOn(f, id, o.raw)
}

// sendOn injects what was recorded as sent on. What Postfix refuses, for any reason, is owed to its mailbox like what comes back later: an
// answer of 4xx would have Postfix give up the original after a day, of which nobody hears.
func (e *Engine) sendOn(f forwarding, id string, raw []byte) error {
	top := append(fmt.Appendf(nil, "%s: %s\r\n", deliveredTo, f.Mailbox), f.Spam.fields()...)
	done, err := e.inject("", message{from: e.settings.Provider.ServiceAddress, to: f.To, envid: id, top: top, bytes: raw}, permanent)
	if err != nil || !done.Refused {
		return err
	}
	why := failure{Recipient: f.To, Text: done.Reply}
	if why.At, err = e.record(kindBounced, "reinject "+id, id, &why); err != nil {
		return err
	}
	e.forwards.owe(id, owed{why: why})
	return nil
}

// cameBack gives a mailbox what it sent on at a site and nobody took, under the key that it would have had without: whatever is repeated, the
// mailbox has it once. One that takes nothing now gets it when it does. Where the mailbox was closed since it was sent on, it is kept, also when
// somebody else has the address by now.
func (e *Engine) cameBack(f forwarding, site string, at time.Time, why failure) error {
	closed, err := e.mailboxFailure(f.Mailbox)
	if err != nil && !errors.Is(err, errOpenThere) {
		return err
	}
	raw, done, err := e.inCustody(f.Digest)
	if err != nil {
		return err
	}
	defer done()
	end, reason := fieldEnd(raw), "inoltrato a "+f.To+", non è stato accettato: "+cmp.Or(why.Text, why.Status)
	o := uncertified{
		judgement: pec.Judgement{Type: pec.TypeOrdinary, Errors: append(f.Reasons, reason)},
		site:      site, queueID: f.QueueID, from: f.From, rcpts: f.Recipients, received: raw[:end], rest: raw[end:], raw: raw, at: f.At, spam: f.Spam, offQueue: true,
	}
	if closed != nil && closed.Status == statusUnknown || !at.After(e.standings.formerUntil(e.settings.Site, f.Mailbox)) {
		return e.keepUndelivered(o, f.Mailbox, reason)
	}
	return e.deliverAnomaly(o, f.Mailbox)
}
