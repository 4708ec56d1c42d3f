package pec

import (
	"errors"
	"fmt"
	"slices"
)

var (
	allErrors   = []ErrorKind{ErrorNone, ErrorNoRecipient, ErrorNoDomain, ErrorVirus, ErrorOther}
	allReceipts = []ReceiptKind{ReceiptFull, ReceiptBrief, ReceiptConcise}
)

// demand says what daticert.xml of one type must hold, beyond what the DTD asks of all (RFC 6109 2 and 4.4; the errors and
// the error text as real providers write them).
type demand struct {
	errors        []ErrorKind
	receipt       bool // ricevuta
	delivery      bool // consegna
	takenInCharge bool // ricezione, one or more
	extendedError bool // errore-esteso
}

var demands = map[Type]demand{
	TypeAcceptance:     {errors: []ErrorKind{ErrorNone}},
	TypeNonAcceptance:  {errors: []ErrorKind{ErrorOther, ErrorVirus}, extendedError: true},
	TypeTakeCharge:     {errors: []ErrorKind{ErrorNone}, takenInCharge: true},
	TypeDelivery:       {errors: []ErrorKind{ErrorNone}, receipt: true, delivery: true},
	TypeEnvelope:       {errors: []ErrorKind{ErrorNone}, receipt: true},
	TypeDeliveryError:  {errors: []ErrorKind{ErrorNoRecipient, ErrorNoDomain, ErrorVirus, ErrorOther}, delivery: true, extendedError: true},
	TypeTimeoutWarning: {errors: allErrors, delivery: true},
	// Older providers name the recipient of a virus notice in ricezione, newer ones in consegna: either, so neither alone.
	TypeVirusDetection: {errors: []ErrorKind{ErrorVirus}, extendedError: true},
}

// check says what a document of this type may not lack.
func (c Certification) check() error {
	d, known := demands[c.Type]
	var missing []error
	need := func(ok bool, what string) {
		if !ok {
			missing = append(missing, fmt.Errorf("%s is missing", what))
		}
	}
	if !known {
		return fmt.Errorf("%q is no type of a certified document", c.Type)
	}
	if !slices.Contains(d.errors, c.Error) {
		missing = append(missing, fmt.Errorf("errore %q does not fit type %s", c.Error, c.Type))
	}
	need(c.Sender != "", "mittente")
	need(len(c.Recipients) > 0 && !slices.ContainsFunc(c.Recipients, func(r Recipient) bool { return r.Address == "" }), "destinatari")
	need(c.Provider != "", "gestore-emittente")
	need(c.Identifier != "", "identificativo")
	need(!c.Time.IsZero(), "data")
	need(!d.receipt || c.Receipt != "", "ricevuta")
	need(!d.delivery || c.Delivery != "", "consegna")
	need(!d.takenInCharge || len(c.TakenInCharge) > 0, "ricezione")
	need(!d.extendedError || c.ExtendedError != "", "errore-esteso")
	need(c.Type != TypeVirusDetection || c.Delivery != "" || len(c.TakenInCharge) > 0, "consegna")
	return errors.Join(missing...)
}
