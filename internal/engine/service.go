package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// readNotice is the service mailbox (casella del gestore): what other providers tell us about envelopes that we sent. A notice
// counts only for what the log says that we sent its recipients; that they are its signer's, mayNotSay saw to when it came.
func (e *Engine) readNotice(d delivery, key string) error {
	data := d.data()
	at, err := e.record(kindReceivedNotice, key, d.identifier(), &data)
	if err != nil || d.judgement.Certification == nil {
		return err
	}
	c := d.judgement.Certification
	var submission accepted
	found, err := e.known(kindAccepted, c.Identifier, &submission)
	if err != nil {
		return err
	}
	if !found && !e.mayBeOfPeer(c.Identifier, at) {
		e.log.Warn("a notice about nothing that we sent", "type", c.Type, "identifier", c.Identifier, "provider", d.judgement.Provider.Name)
		return nil
	}
	if !found && c.Type == pec.TypeVirusDetection {
		return fmt.Errorf("a notice about %s: the other site may have sent that, and is not heard", c.Identifier)
	}
	for _, rcpt := range concerned(*c) {
		if found && !submission.isFor(rcpt) {
			e.log.Warn("a notice about a recipient that the message never had", "type", c.Type, "identifier", c.Identifier, "provider", d.judgement.Provider.Name)
			continue
		}
		switch c.Type {
		case pec.TypeTakeCharge:
			_, err = e.record(kindAcknowledged, c.Identifier+" "+rcpt, c.Identifier, &outcomeData{Recipient: rcpt, Type: c.Type, Provider: d.judgement.Provider.Name})
		case pec.TypeVirusDetection:
			err = e.fail(submission, failure{Recipient: rcpt, Threat: c.ExtendedError, Text: c.ExtendedError, At: at})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outcomeData is what another provider's notice, or our own, says of one recipient.
type outcomeData struct {
	Recipient string   `json:"recipient"`
	Type      pec.Type `json:"type"`
	Provider  string   `json:"provider"`
}

// concerned are the recipients that a notice is about, case-folded: older providers name that of a virus notice in ricezione.
func concerned(c pec.Certification) []string {
	list := slices.Clone(c.TakenInCharge)
	if c.Delivery != "" {
		list = append(list, c.Delivery)
	}
	for i := range list {
		list[i] = fold(list[i])
	}
	return list
}

func (a accepted) isFor(rcpt string) bool {
	return slices.ContainsFunc(a.Transit.Recipients, func(r recipientRecord) bool { return strings.EqualFold(r.Address, rcpt) })
}

// mayBeOfPeer says whether an identifier that is not known here can be of a submission at the other site: not all is here that was
// recorded there when the notice about it came.
func (e *Engine) mayBeOfPeer(identifier string, at time.Time) bool {
	return strings.EqualFold(domainOf(identifier), e.settings.Provider.MailDomain) && e.hasPeer(context.Background()) && !e.hearing().caughtUpAt.After(at)
}

// settle records that the outcome for a recipient of ours is known, when a delivery receipt or failure about it arrives: its
// timers end, at both sites, whether the sender's mailbox takes the notice or not. It is recorded also when the submission is not
// known here: it may be the other site's, and means nothing if it is not.
func (e *Engine) settle(j pec.Judgement) error {
	c := j.Certification
	if c.Type != pec.TypeDelivery && c.Type != pec.TypeDeliveryError {
		return nil
	}
	var submission accepted
	found, err := e.known(kindAccepted, c.Identifier, &submission)
	if err != nil {
		return err
	}
	if !found && !e.mayBeOfPeer(c.Identifier, e.now()) || found && !submission.isFor(c.Delivery) {
		return nil
	}
	if _, err = e.record(kindSettled, c.Identifier+" "+fold(c.Delivery), c.Identifier, &outcomeData{Recipient: fold(c.Delivery), Type: c.Type, Provider: j.Provider.Name}); err == nil {
		e.timers.end(timerKey{c.Identifier, fold(c.Delivery)})
	}
	return err
}

// mayNotSay says in Italian why a provider may not issue this notice, "" if it may: only the sender's provider speaks of
// acceptance and deadlines, only the recipient's of taking in charge, delivery and viruses. Without it one provider could answer
// for another's mailboxes.
func mayNotSay(j pec.Judgement) string {
	c := j.Certification
	managesAll := !slices.ContainsFunc(concerned(*c), func(rcpt string) bool { return !j.Provider.Manages(rcpt) })
	may := false
	switch c.Type {
	case pec.TypeAcceptance, pec.TypeNonAcceptance, pec.TypeTimeoutWarning:
		may = j.Provider.Manages(c.Sender)
	case pec.TypeTakeCharge, pec.TypeDelivery, pec.TypeVirusDetection:
		may = managesAll
	case pec.TypeDeliveryError:
		may = managesAll || j.Provider.Manages(c.Sender)
	}
	if may {
		return ""
	}
	return fmt.Sprintf("Il gestore che ha firmato non puo' emettere %s per gli indirizzi indicati.", c.Type)
}
