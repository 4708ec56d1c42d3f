package road

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/stack"
)

// DTD is the declaration that every daticert.xml must satisfy, below the checkout.
const DTD = "internal/pec/testdata/daticert.dtd"

// Account answers the holder of a sample mailbox, connected to the stack of one site.
func (r *Road) Account(ctx context.Context, site, address string) (Account, error) {
	_, domain, _ := strings.Cut(address, "@")
	host, err := r.samples.host(domain)
	if err != nil {
		return Account{}, err
	}
	at, err := r.balancer(ctx, site, host.Namespace, stack.NamesFor(host.Name).Mail)
	if err != nil {
		return Account{}, err
	}
	return Account{
		Address: address, Password: r.material.Passwords[address], Host: at,
		ServerName: host.Spec.Provider.Managed.Endpoints.Submission, Roots: r.material.Pool(),
	}, nil
}

// Walk is one certified message and everything that it caused.
type Walk struct {
	Sender, Recipient                string
	Original                         []byte
	Acceptance, Delivery, Envelope   Certified
	Accepted, Delivered, Transported time.Duration // from the client's 250 to the moment the reader saw it
}

// Message makes an ordinary client's message with an attachment; its Message-ID is new.
func Message(from, to, subject string) []byte {
	id := strings.ToLower(rand.Text())
	return []byte(strings.ReplaceAll(fmt.Sprintf(`From: %[1]s
To: %[2]s
Subject: %[3]s
Date: %[4]s
Message-ID: <%[5]s@client.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="%[5]s"

--%[5]s
Content-Type: text/plain; charset=us-ascii

Si trasmette in allegato l'atto in oggetto.
--%[5]s
Content-Type: application/octet-stream; name="atto.bin"
Content-Disposition: attachment; filename="atto.bin"
Content-Transfer-Encoding: base64

%[6]s
--%[5]s--
`, from, to, subject, time.Now().Format(time.RFC1123Z), id, strings.Repeat("cGVjLW9wZXJhdG9y", 4)), "\n", "\r\n"))
}

// Walk sends one message from a mailbox to another at the first site, and waits for the acceptance and the delivery receipt in the
// sender's mailbox and for the envelope in the recipient's.
func (r *Road) Walk(ctx context.Context, from, to string) (Walk, error) {
	sender, err := r.Account(ctx, SiteNames[0], from)
	if err != nil {
		return Walk{}, err
	}
	recipient, err := r.Account(ctx, SiteNames[0], to)
	if err != nil {
		return Walk{}, err
	}
	w := Walk{Sender: from, Recipient: to, Original: Message(from, to, "Trasmissione atto n. 1")}
	if err := sender.Send([]string{to}, w.Original); err != nil {
		return w, err
	}
	sent := time.Now()
	id := "<" + MessageIDOf(w.Original) + ">"
	if w.Acceptance, err = r.Await(ctx, sender, id, "accettazione"); err != nil {
		return w, err
	}
	w.Accepted = time.Since(sent)
	if w.Envelope, err = r.Await(ctx, recipient, id, "posta-certificata"); err != nil {
		return w, err
	}
	w.Transported = time.Since(sent)
	if w.Delivery, err = r.Await(ctx, sender, id, "avvenuta-consegna"); err != nil {
		return w, err
	}
	w.Delivered = time.Since(sent)
	return w, r.verify(ctx, w)
}

// Await reads a mailbox until it holds a certified message of a type about the client's Message-ID.
func (r *Road) Await(ctx context.Context, account Account, clientID, kind string) (Certified, error) {
	return r.AwaitAbout(ctx, account, clientID, kind, "")
}

// AwaitAbout is Await for a receipt about one of several recipients, "" for any.
func (r *Road) AwaitAbout(ctx context.Context, account Account, clientID, kind, recipient string) (Certified, error) {
	var found Certified
	err := r.until(ctx, time.Minute, 200*time.Millisecond, func() error {
		messages, err := account.Inbox()
		if err != nil {
			return err
		}
		for _, raw := range messages {
			if !bytes.Contains(raw, []byte(clientID)) {
				continue
			}
			c, err := Open(raw)
			if err == nil && c.Data.Type == kind && c.Data.MessageID == clientID && (recipient == "" || c.Data.Delivery == recipient) {
				found = c
				return nil
			}
		}
		return fmt.Errorf("no %s about %s %s among the %d messages of %s", kind, clientID, recipient, len(messages), account.Address)
	})
	return found, err
}

// Verify has OpenSSL and xmllint judge one certified message against the demo's authority and the DTD.
func (r *Road) Verify(ctx context.Context, c Certified) error {
	return c.Verify(ctx, []byte(r.material.Roots), filepath.Join(r.Root, DTD))
}

// verify has the tools of others judge what the walk brought: signatures, certification data, and the original byte for byte.
func (r *Road) verify(ctx context.Context, w Walk) error {
	for _, c := range []Certified{w.Acceptance, w.Envelope, w.Delivery} {
		if err := r.Verify(ctx, c); err != nil {
			return err
		}
	}
	for _, c := range []Certified{w.Envelope, w.Delivery} {
		if !bytes.Equal(c.Original(), w.Original) {
			return fmt.Errorf("the original in %q is not byte for byte what was sent", c.Header.Get("Subject"))
		}
	}
	if w.Acceptance.Data.Identifier != w.Delivery.Data.Identifier || w.Envelope.Data.Identifier != w.Delivery.Data.Identifier {
		return errors.New("acceptance, envelope and delivery receipt speak of different identifiers")
	}
	return nil
}
