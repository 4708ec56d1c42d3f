package stack

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/hostile"
)

// Hostile texts in every text of a row, through the real writer: Dovecot and Postfix then know the rows that were meant, with what
// was meant of each, and no other. The same texts, asked for as a client may, find nothing.
func TestHostileRows(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		if err := p.directory.SetWhole(t.Context()); err != nil { // or every address that is not there has one answer
			t.Fatal(err)
		}
		dovecot, postfix := p.started("dovecot"), p.started("postfix")
		defer dovecot.stop()
		defer postfix.stop()
		ask := func(r *running, name string, command ...string) string {
			out, err := n.exec(r, p.container(name), command...)
			if err != nil {
				t.Errorf("%s: %v", command[0], err)
			}
			return out
		}
		placed := p.hostileRows()
		if len(placed) < 4*len(hostile.Values) {
			t.Errorf("only %d rows with a hostile text were taken: this test asks for little", len(placed))
		}
		var addresses []string
		users := map[string]map[string]string{}
		for _, m := range placed {
			local, _, _ := strings.Cut(m.Address, "@")
			home := mailDir + "/" + domain + "/" + local
			users[home] = map[string]string{"uid": mailUser, "gid": mailUser, "home": home, "mail_path": home + "/mdbox", "quota_storage_size": fmt.Sprintf("%dB", m.QuotaBytes)}
			addresses = append(addresses, m.Address)
		}
		slices.Sort(addresses)
		all := slices.Sorted(slices.Values(append(fixtures(), addresses...)))

		doveadm := []string{"/usr/bin/doveadm", "-c", dovecotDir + "/" + fileDovecot, "user"}
		if diff := cmp.Diff(all, slices.Sorted(strings.FieldsSeq(ask(dovecot, "dovecot", append(doveadm, "*")...)))); diff != "" {
			t.Errorf("the users that Dovecot knows (-meant +known):\n%s", diff)
		}
		if diff := cmp.Diff(users, readUsers(ask(dovecot, "dovecot", append(doveadm, addresses...)...))); diff != "" {
			t.Errorf("what Dovecot knows of them (-meant +known):\n%s", diff)
		}
		for file, want := range map[string][]string{fileMailboxes: addresses, fileSenders: addresses, fileRefusals: nil, fileDomains: nil, fileElsewhere: nil, filePolicy: nil} {
			// A shell in the image hands the addresses over, one a line; postmap answers those it found, each with its value.
			out := ask(postfix, "postfix", append([]string{"/bin/sh", "-c", `printf '%s\n' "$@" | /usr/sbin/postmap -q - "$0" || test $? = 1`, "sqlite:" + postfixDir + "/" + file}, addresses...)...)
			var answers []string
			for line := range strings.Lines(out) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
				if key != value {
					t.Errorf("%s says of %s: %q", file, key, value)
				}
				answers = append(answers, key)
			}
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(answers)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-meant +known):\n%s", file, diff)
			}
		}
		p.nothingFound(dovecot, postfix)
	})
}

// fixtures are the mailboxes that every pod of these tests has.
func fixtures() []string {
	var all []string
	for _, name := range []string{"full", "other", "readonly", "suspended", "closed"} {
		all = append(all, name+"@"+domain)
	}
	return all
}

// hostileRows places a row for every hostile text in every text of a row, and answers those that were taken.
func (p *pod) hostileRows() (taken []admin.Mailbox) {
	p.t.Helper()
	var places []admin.Place
	values := hostile.Mixed(p.t, 50)
	maps.Copy(values, hostile.Values)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		add := func(m admin.Mailbox) {
			m.QuotaBytes = int64(len(places)+1) << 10 // each has its own
			places = append(places, admin.Place{Address: m.Address, Mailbox: &m})
		}
		m := admin.Mailbox{
			Domain: domain, Password: "{SHA512-CRYPT}$6$x", CredentialsVersion: "1", Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDiscard,
		}
		for _, m.Address = range []string{value + "@" + domain, domain + "@" + value} {
			add(m)
		}
		hostile.Texts(reflect.ValueOf(&m).Elem(), "", func(_ string, text reflect.Value) {
			m.Address = fmt.Sprintf("riga-%d@%s", len(places), domain)
			was := text.String()
			text.SetString(value)
			add(m)
			text.SetString(was)
		})
	}
	outcomes, err := p.directory.Place(context.Background(), places)
	p.must(err)
	for i, o := range outcomes {
		if o.Err == nil {
			taken = append(taken, *places[i].Mailbox)
		}
	}
	return taken
}

// readUsers reads what `doveadm user` prints of several: the fields of one after those of another, told apart by their homes.
func readUsers(out string) map[string]map[string]string {
	users := map[string]map[string]string{}
	var user map[string]string
	for line := range strings.Lines(out) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		switch field {
		case "field": // the heading
			continue
		case "": // between two of them
			continue
		case "uid": // the first of each
			user = map[string]string{}
		case "home":
			users[value] = user
		}
		user[field] = value
	}
	return users
}

// nothingFound asks Dovecot and Postfix for hostile texts, as a client does that logs in with one or writes to one: the one key of all
// that is found is the mailbox that is there.
func (p *pod) nothingFound(dovecot, postfix *running) {
	p.t.Helper()
	there := "full@" + domain
	keys := []string{there}
	for name, value := range hostile.Values {
		if name != "a NUL" && name != "plain text" { // the one is no argument of a program, the other an address that was placed
			keys = append(keys, value, value+"@"+domain, there+value)
		}
	}
	finds := func(r *running, name, command string, want string) {
		p.t.Helper()
		out, err := p.exec(r, p.container(name), append([]string{"/bin/sh", "-c", command + " 2>/dev/null; test $? -lt 128", "sh"}, keys...)...)
		if err != nil || strings.TrimSpace(out) != want {
			p.t.Errorf("%s finds %q (%v), want %q", command, out, err, want)
		}
	}
	const asDovecot = "/usr/bin/doveadm -c " + dovecotDir + "/" + fileDovecot
	finds(dovecot, "dovecot", asDovecot+` user -f quota_storage_size -- "$@"`, "1048576B")
	finds(dovecot, "dovecot", asDovecot+` auth lookup -f user -- "$@"`, there)
	for file, want := range map[string]string{fileMailboxes: there, fileSenders: there, fileRefusals: "", fileDomains: "", fileElsewhere: "", filePolicy: ""} {
		finds(postfix, "postfix", `for k; do /usr/sbin/postmap -q "$k" sqlite:`+postfixDir+"/"+file+`; done`, want)
	}
}
