package mailbox

import (
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
)

// What a freeze keeps from being carried out, in words.
const (
	heldRow   = "what was changed of the mailbox (its quota, type, password or ordinary mail) is not carried out"
	heldGiven = "what was changed of the mailbox (its rules, notifications, antispam, limits or what its holder may change) is not carried out"
)

// plan is what to ask of the stack so that it holds the row and what is given to the holder, nil where it does; and what a freeze keeps from
// being asked, "" where that is nothing. A row that comes with the password it has, by the version of the Secret, keeps the hash of it:
// a hash has a random salt and would differ on every pass. A row is asked for only in the place of the one that was read: the Mailbox may be
// deleted by now, and its row closed. A freeze keeps what is there: of a row that the engine made again from its log most is a guess, and by
// that ordinary mail which its holder wants would be refused. Pure.
func plan(has engines.Known, want admin.Mailbox, gives admin.Given, frozen bool) (ask *admin.Place, held string) {
	row, given := want, gives
	if frozen && has.There && !has.Mailbox.Restored {
		row, given = unchanged(has.Mailbox, want), has.Holder.Given
	}
	switch {
	case !row.Same(want):
		held = heldRow
	case !given.Same(gives):
		held = heldGiven
	}
	p := admin.Place{Address: want.Address}
	if !has.There || !has.Settled || !has.Mailbox.Same(row) {
		p.Mailbox, p.If = &row, &has.Mailbox
	}
	if !has.Holder.Given.Same(given) {
		p.Given = &given
	}
	if p.Mailbox == nil && p.Given == nil {
		return nil, held
	}
	return &p, held
}

// reopens says whether a place opened a mailbox that was closed: one whose closing was left half done is placed closed. Pure.
func reopens(had, has admin.Mailbox) bool {
	return had.Access == admin.AccessClosed && has.Access != admin.AccessClosed
}

// newPassword says whether a row needs the hash of another password than the stack holds. Pure.
func newPassword(has engines.Known, row admin.Mailbox) bool {
	return !has.There || has.Mailbox.CredentialsVersion != row.CredentialsVersion
}
