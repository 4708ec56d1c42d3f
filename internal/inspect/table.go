package inspect

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// table writes the report for people, leaving out what is empty.
func (r Report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(label string, values ...string) {
		for _, v := range values {
			if v != "" {
				fmt.Fprintf(t, "%s\t%s\n", label, printable(v))
				label = ""
			}
		}
	}
	row("type", string(r.Type))
	row("certified", map[bool]string{true: "yes", false: "no"}[r.Certified])
	row("signature", r.Signature.String())
	if s := r.Signature.Signer; s != nil {
		row("signer", s.Subject, s.RFC822Name, "valid "+s.NotBefore+" to "+s.NotAfter, "sha256 "+s.SHA256)
	}
	row("chain", string(r.Signature.Chain)+": "+r.Signature.ChainReason)
	row("revocation", strings.TrimSuffix(r.Signature.Revocation+": "+r.Signature.RevocationReason, ": "))
	row("provider", r.Provider)
	row("issued by", r.Issuer)
	row("identifier", r.Identifier)
	row("message id", r.MessageID)
	row("client's id", r.ClientMessageID)
	row("event", r.Times.Event)
	row("signed", r.Times.Signed)
	row("subject", r.Subject)
	row("sender", r.Sender)
	row("answers to", r.ReplyTo)
	row("recipients", r.recipients()...)
	row("about", r.Delivery)
	row("taken charge", r.TakenInCharge...)
	row("receipt", r.Receipt)
	row("failure", strings.TrimSpace(r.Failure.Kind+" "+r.Failure.Text))
	if r.Original.SHA256 != "" {
		row("original", fmt.Sprintf("%d bytes", r.Original.Bytes), "sha256 "+r.Original.SHA256)
	}
	row("errors", r.Errors...)
	row("notes", r.Notes...)
	return t.Flush()
}

func (s Signature) String() string {
	switch {
	case s.Intact:
		return "intact, " + s.Digest
	case s.Signer != nil:
		return "broken"
	}
	return "none"
}

func (r Report) recipients() []string {
	out := make([]string, len(r.Recipients))
	for i, to := range r.Recipients {
		out[i] = to.Address
		if to.Certified {
			out[i] += " (certified mail)"
		}
	}
	return out
}

// printable keeps a message from steering the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}
