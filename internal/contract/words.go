package contract

import (
	"fmt"
	"strconv"
)

// longQueue is the last place that is said by its number: who leaves at the head must not change ten thousand messages.
const longQueue = 100

// Held says why a claim of an address is held, and what to do, in a sentence that changes only when the answer does.
func (o Outcome) Held(c Contract, address string) string {
	d := o.Decisions[address]
	switch d.Limit {
	case Validity:
		return fmt.Sprintf("contract %s has ended: nothing more is admitted, what is there stays; have the back office renew it and set contract.validUntil", c.Reference)
	case Grant:
		return fmt.Sprintf("contract %s grants no Massive mailbox to %s; have the back office add the address to contract.massiveGrants, or set type: Standard and remove massive", c.Reference, address)
	}
	whose, tally, terms := "contract "+c.Reference, &o.Total, c.Terms
	if d.Part != "" {
		whose, tally, terms = "the part of "+d.Part+" in contract "+c.Reference, o.Domains[d.Part], c.Parts[d.Part]
	}
	closed := ""
	if tally.Closed > 0 {
		closed = fmt.Sprintf(" (mailboxes that are closed and keep their mail count: %d)", tally.Closed)
	}
	used, limit := strconv.FormatInt(tally.of(d.Limit), 10), strconv.FormatInt(*terms.of(d.Limit), 10)
	what, field := "Standard mailboxes", "standard"
	switch d.Limit {
	case MassiveMailboxes:
		what, field = "Massive mailboxes", "massive"
	case Storage:
		used, limit = Size(tally.Bytes), Size(*terms.Bytes)
		what, field = "quota", "storageGiB"
	}
	place := "number " + strconv.Itoa(d.Place) + " in the queue"
	if d.Place > longQueue {
		place = "in the queue behind more than " + strconv.Itoa(longQueue) + " others"
	}
	return fmt.Sprintf("%s: %s of %s %s in use%s; this request is %s and is admitted by itself when there is room: have the back office raise contract.%s, or withdraw the request",
		whose, used, limit, what, closed, place, field)
}

// GiB is the unit of a contract's storage, in bytes.
const GiB = 1 << 30

// Size is a number of bytes in words.
func Size(bytes int64) string {
	const mib = 1 << 20
	if bytes < GiB/10 {
		return strconv.FormatInt((bytes+mib-1)/mib, 10) + " MiB"
	}
	return strconv.FormatFloat(float64((bytes*10+GiB-1)/GiB)/10, 'f', -1, 64) + " GiB"
}
