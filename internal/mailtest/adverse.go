package mailtest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/pec-operator/pec-operator/internal/store"
)

// Adverse is a message that a tool could get wrong; the same seed gives the same message.
func Adverse(seed int) (raw string, flags []imap.Flag, date time.Time) {
	id := fmt.Sprintf("Message-ID: <%d@client.test>\r\n", seed)
	body := fmt.Sprintf("testo %d\r\n.\r\n..\r\n", seed)
	switch seed % 10 {
	case 1:
		id = "" // none at all
	case 2:
		id = "Message-ID: <sempre-lo-stesso@client.test>\r\n" // with another body each time
	case 3:
		body = "\xe0\xe8\xec\xf2 8 bit\r\nfine senza a capo"
	case 4:
		id, body = "Message-ID: <doppio@client.test>\r\n", "doppione\r\n" // all of these are equal, byte for byte
	case 5:
		body = strings.Repeat(strings.Repeat("x", 76)+"\r\n", 300)
	}
	subject := "Subject: Prova\r\n"
	if seed%10 != 4 {
		subject = fmt.Sprintf("Subject: Prova %d\r\n", seed)
	}
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	for _, f := range []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDraft, "$Forwarded", "urgente", "NonJunk"} {
		if random.IntN(3) == 0 {
			flags = append(flags, f)
		}
	}
	return "From: a@b.test\r\n" + id + subject + "\r\n" + body, flags, time.Unix(1500000000+int64(random.IntN(200000000)), 0)
}

// AdverseFolders are the folders of a filled mailbox, as a Provider names them.
var AdverseFolders = []string{"INBOX", "Inviata", "Prot.2021", "Società & Enti.Àncora", "vuota", "EXPUNGED"}

// Copied is what a Provider's folder is called in our store.
func Copied(folder string) string {
	folder = strings.ReplaceAll(folder, ".", "/")
	if folder == "EXPUNGED" {
		return "EXPUNGED_"
	}
	return folder
}

// Holder is a mailbox at an IMAPS server of the test's own, whose certificate is not looked at.
type Holder struct{ Server, Address, Password string }

// Login opens a session.
func (h Holder) Login(t *testing.T) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialTLS(h.Server, &imapclient.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // of the test's own
	must(t, err)
	must(t, c.Login(h.Address, h.Password).Wait())
	return c
}

// Append puts a message into a folder.
func Append(t *testing.T, c *imapclient.Client, folder, raw string, flags []imap.Flag, date time.Time) {
	t.Helper()
	a := c.Append(folder, int64(len(raw)), &imap.AppendOptions{Flags: flags, Time: date})
	_, err := a.Write([]byte(raw))
	must(t, errors.Join(err, a.Close()))
	_, err = a.Wait()
	must(t, err)
}

// Fill puts the adverse messages of some seeds into the mailbox's folders.
func (h Holder) Fill(t *testing.T, from, to int) {
	t.Helper()
	c := h.Login(t)
	defer c.Close()
	for _, f := range AdverseFolders[1:] {
		_ = c.Create(f, nil).Wait() // there since the first time
	}
	for seed := from; seed < to; seed++ {
		raw, flags, date := Adverse(seed)
		folder := AdverseFolders[seed/3%4]
		if seed%50 == 7 {
			folder = "EXPUNGED"
		}
		Append(t, c, folder, raw, flags, date)
	}
}

// Snapshot is all of the mailbox: how many there are of each message, with all that is said of it. Folders are called as named
// says.
func (h Holder) Snapshot(t *testing.T, named func(string) string) map[string]int {
	t.Helper()
	c := h.Login(t)
	defer c.Close()
	all := map[string]int{}
	list, err := c.List("", "*", nil).Collect()
	must(t, err)
	for _, l := range list {
		if slices.Contains(l.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(l.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		state, err := c.Select(l.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		must(t, err)
		if state.NumMessages == 0 {
			continue
		}
		messages, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1}}, &imap.FetchOptions{Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
		must(t, err)
		for _, m := range messages {
			var flags []string
			for _, f := range m.Flags {
				if f != `\Recent` {
					flags = append(flags, string(f))
				}
			}
			all[Line(named(l.Mailbox), store.Digest(m.BodySection[0].Bytes), m.InternalDate, flags)]++
		}
	}
	return all
}

// Line is a message in a snapshot.
func Line(folder, digest string, date time.Time, flags []string) string {
	slices.Sort(flags)
	return fmt.Sprintf("%s %s %d %v", folder, digest, date.Unix(), flags)
}
