package audit

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// selection is what is asked for; what is given must hold all together.
type selection struct {
	holder, identifier, from, to string
}

func (s selection) check() error {
	if s.holder == "" && s.identifier == "" && (s.from == "" || s.to == "") {
		return errors.New("say whose events: --holder ADDRESS, --identifier ID, or --from DAY --to DAY")
	}
	for _, day := range []string{s.from, s.to} {
		if _, err := time.Parse(time.DateOnly, day); day != "" && err != nil {
			return fmt.Errorf("%q is no day: write it as 2026-11-21", day)
		}
	}
	return nil
}

// Event is one event in the terms of the rules (RFC 6109 2.3), whoever's records it comes from.
type Event struct {
	Site       string    `json:"site"` // that recorded it, "" where nothing tells
	Record     uint64    `json:"record"`
	Time       time.Time `json:"time"`
	Event      string    `json:"event"`
	Identifier string    `json:"identifier"` // PEC identifier
	MessageID  string    `json:"messageID"`  // of the original message
	Sender     string    `json:"sender"`
	Recipients []string  `json:"recipients"`
	Subject    string    `json:"subject"`
	Provider   string    `json:"provider"`  // the sender's
	Concerned  []string  `json:"concerned"` // the recipients that the event is about; empty: all
	Generated  string    `json:"generated"` // Message-ID of what was made
	Outcome    string    `json:"outcome"`
	Hash       string    `json:"hash"` // of the record
}

// labels are the events that the rules know; the engine's inner steps are none. A kind that is not here shows under its own name.
var labels = map[string]string{
	"accepted": "busta-di-trasporto", "refused": "rifiuto-formale", "taken-in-charge": "ricezione", "delivered": "consegna",
	"undeliverable": "mancata-consegna", "held": "consegna-rinviata", "received-notice": "ricevuta-di-altro-gestore", "bounced": "rifiuto-di-altro-server",
	"infected": "virus", "acknowledged": "presa-in-carico-ricevuta", "settled": "esito-ricevuto", "report": "rapporto-trattenuto",
	"united":            "copia-unica",
	evidence.KindSealed: "chiusura-registro", evidence.KindStamped: "marcatura-temporale",
}

// inner are steps of the engine that are no event of their own.
var inner = []string{"transaction", "injected", "delivering", "forwarding", "uniting", "log-begun", "recalled"}

// data is the union of what the engine's records hold of a message.
type data struct {
	At      time.Time `json:"at"`
	Transit *transit  `json:"transit"`
	// of a notice
	Type  string `json:"type"`
	About string `json:"about"`
	// of a delivery
	Mailbox  string `json:"mailbox"`
	Provider string `json:"provider"`
	Reply    string `json:"reply"`
	// of a failure
	Recipient string `json:"recipient"`
	Status    string `json:"status"`
	Text      string `json:"text"`
	Threat    string `json:"threat"`
	// of a take-charge and of a refusal
	Recipients []string `json:"recipients"`
	Reasons    []string `json:"reasons"`
}

type transit struct {
	MessageID  string `json:"messageID"`
	Sender     string `json:"sender"`
	Subject    string `json:"subject"`
	Recipients []struct {
		Address   string `json:"address"`
		Certified bool   `json:"certified"`
	} `json:"recipients"`
}

// message is what is known of a PEC identifier.
type message struct {
	*transit
	provider string
}

func (m message) concerns(holder string) bool {
	if m.transit == nil {
		return false
	}
	return m.isSender(holder) || slices.ContainsFunc(m.addresses(), func(a string) bool { return strings.EqualFold(a, holder) })
}

func (m message) isSender(holder string) bool {
	return m.transit != nil && strings.EqualFold(m.Sender, holder)
}

func (m message) addresses() []string {
	list := []string{}
	if m.transit != nil {
		for _, r := range m.Recipients {
			list = append(list, r.Address)
		}
	}
	return list
}

// read reads the logs twice, first to learn of the messages (what one site accepted the other may have delivered) and then for the events
// that are asked for, which it answers in the order of their times. A record that is in two of the logs, because one mirrors the other, is one
// event. faults are what does not verify; the events are given all the same.
func (o options) read() (events []Event, faults []string, err error) {
	messages := map[string]message{}
	for _, log := range o.logs {
		fault := func(f string) { faults = append(faults, o.naming(log, f)) }
		if err := evidence.Walk(log.Dir, learner(messages), fault); err != nil {
			return nil, nil, err
		}
	}
	seen := map[string]bool{}
	for _, log := range o.logs {
		give := func(_ string, r evidence.Record) error {
			m := messages[r.Identifier]
			if e := eventOf(r, m); !slices.Contains(inner, r.Kind) && o.wants(e, m) && !seen[r.Hash] {
				e.Site, seen[r.Hash] = log.Site, true
				events = append(events, e)
			}
			return nil
		}
		if err := evidence.Walk(log.Dir, give, func(string) {}); err != nil {
			return nil, nil, err
		}
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return events, faults, nil
}

// learner takes down what a record tells of a message.
func learner(messages map[string]message) func(string, evidence.Record) error {
	return func(_ string, r evidence.Record) error {
		if r.Identifier == "" {
			return nil
		}
		var d data
		if err := r.Decode(&d); err != nil {
			return nil //nolint:nilerr // it tells of no message; the second reading shows it for what it is
		}
		m := messages[r.Identifier]
		if m.transit == nil && d.Transit != nil {
			m.transit = d.Transit
		}
		if m.provider == "" {
			m.provider = d.Provider
		}
		messages[r.Identifier] = m
		return nil
	}
}

// eventOf reads a record. A record that is not in the engine's form still shows what every record has.
func eventOf(r evidence.Record, m message) Event {
	var d data
	_ = r.Decode(&d)
	e := Event{Record: r.Seq, Time: r.Time, Event: r.Kind, Identifier: r.Identifier, Provider: m.provider, Recipients: m.addresses(), Concerned: []string{}, Hash: r.Hash}
	if label := labels[r.Kind]; label != "" {
		e.Event = label
	}
	if !d.At.IsZero() {
		e.Time = d.At
	}
	e.Time = e.Time.In(pec.Rome())
	if m.transit != nil {
		e.MessageID, e.Sender, e.Subject = m.MessageID, m.Sender, m.Subject
	}
	for _, address := range append([]string{d.About, d.Mailbox, d.Recipient}, d.Recipients...) {
		if address != "" && !slices.Contains(e.Concerned, address) {
			e.Concerned = append(e.Concerned, address)
		}
	}
	e.Outcome = strings.Join(slices.DeleteFunc(append([]string{d.Status, d.Text, d.Threat, d.Reply}, d.Reasons...), func(s string) bool { return s == "" }), " ")
	switch r.Kind {
	case "accepted":
		e.Generated = r.Identifier
	case "refused":
		if d.Threat != "" {
			e.Event = "rifiuto-per-virus"
		}
	case "notice":
		e.Event, e.Generated = d.Type, r.Key
	case "delivered":
		if d.Type != string(pec.TypeEnvelope) {
			e.Event = "deposito-di-ricevuta"
		}
	case evidence.KindSealed, evidence.KindStamped:
		e.Outcome = r.Key
	}
	return e
}

// wants says whether an event is asked for. A recipient is shown what concerns all or himself; what became of the others is the
// sender's to know.
func (s selection) wants(e Event, m message) bool {
	day := e.Time.Format(time.DateOnly)
	if (s.from != "" && day < s.from) || (s.to != "" && day > s.to) {
		return false
	}
	if id := strings.Trim(s.identifier, "<>"); id != "" && id != e.Identifier && id != strings.Trim(e.MessageID, "<>") {
		return false
	}
	if s.holder == "" {
		return true
	}
	himself := slices.ContainsFunc(e.Concerned, func(a string) bool { return strings.EqualFold(a, s.holder) })
	return himself || m.isSender(s.holder) || (len(e.Concerned) == 0 && m.concerns(s.holder) && e.Event == labels["accepted"])
}

func (o options) extract(w io.Writer) ([]string, error) {
	var out format
	switch o.format {
	case "csv":
		out = newCSV(w)
	case "json":
		out = newJSON(w)
	default:
		out = newText(w, o.selection, o.logs)
	}
	events, faults, err := o.read()
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		if err := out.event(e); err != nil {
			return nil, err
		}
	}
	return faults, out.end(faults)
}
