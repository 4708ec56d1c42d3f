package pec

import (
	"fmt"
	"slices"
	"strings"
)

// CheckFormal makes the access point's formal checks (RFC 6109 3.1.1) and says in Italian, one sentence each, what is wrong;
// nothing means that the message may be certified. size is that of the message in bytes. Addresses are compared whatever
// their case.
func CheckFormal(o *Original, mailFrom string, rcpts []string, size int64, l FormalLimits) []string {
	wrong := slices.Clone(o.defects)
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	switch {
	case len(o.From) == 0:
		say("Il campo From manca o non contiene un indirizzo valido.")
	case len(o.From) > 1:
		say("Il campo From contiene più di un indirizzo.")
	case !strings.EqualFold(o.From[0], mailFrom):
		say("Il mittente indicato nel campo From (%s) è diverso dal mittente della trasmissione (%s).", o.From[0], cleanText(mailFrom))
	}
	if len(o.To) == 0 {
		say("Il campo To manca o non contiene un indirizzo valido.")
	}
	if len(rcpts) == 0 {
		say("La trasmissione non indica alcun destinatario.")
	}
	if hidden := hiddenRecipients(o, rcpts); len(hidden) > 0 {
		say("I destinatari nascosti non sono ammessi: nei campi To e Cc non compare %s.", enumerate(hidden))
	}
	if o.header.get("Bcc") != "" {
		say("Il campo Bcc contiene un valore: i destinatari nascosti non sono ammessi.")
	}
	if n := len(rcpts); l.MaxRecipients > 0 && n > l.MaxRecipients {
		say("I destinatari sono %d, più dei %d ammessi.", n, l.MaxRecipients)
	}
	if l.MaxMessageSize > 0 && size > l.MaxMessageSize {
		say("Il messaggio è di %d byte, più dei %d ammessi.", size, l.MaxMessageSize)
	}
	if product := size * int64(len(rcpts)); l.MaxSizeTimesRecipients > 0 && product > l.MaxSizeTimesRecipients {
		say("La dimensione del messaggio moltiplicata per il numero dei destinatari è di %d byte, più dei %d ammessi.", product, l.MaxSizeTimesRecipients)
	}
	return wrong
}

func hiddenRecipients(o *Original, rcpts []string) []string {
	visible := make(map[string]bool, len(o.To)+len(o.Cc))
	for _, a := range slices.Concat(o.To, o.Cc) {
		visible[strings.ToLower(a)] = true
	}
	var hidden []string
	for _, r := range rcpts {
		if !visible[strings.ToLower(r)] {
			hidden = append(hidden, cleanText(r))
		}
	}
	return hidden
}

// enumerate lists at most ten: the sentence also goes into daticert.xml, and a thousand addresses would make it unreadable.
func enumerate(list []string) string {
	const most = 10
	if more := len(list) - most; more > 0 {
		return fmt.Sprintf("%s e altri %d", strings.Join(list[:most], ", "), more)
	}
	return strings.Join(list, ", ")
}
