package providers

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Format writes entries as the LDIF that [Parse] reads: the schema of RFC 6109 4.5, one root entry, then one per provider.
func Format(entries []Entry) []byte {
	var b bytes.Buffer
	b.WriteString("version: 1\n\n")
	record(&b, [][2]string{{"dn", "o=postacert"}, {"objectClass", "top"}, {"objectClass", "organization"}, {"o", "postacert"}})
	for _, e := range entries {
		lines := [][2]string{
			{"dn", "providerName=" + escapeDN(e.Name) + ",o=postacert"},
			{"objectClass", "top"}, {"objectClass", "provider"},
			{"providerName", e.Name}, {"mailReceipt", e.MailReceipt},
		}
		for _, d := range e.Domains {
			lines = append(lines, [2]string{"managedDomains", d})
		}
		if e.Location != "" {
			lines = append(lines, [2]string{"objectClass", "LDIFLocationURLObject"}, [2]string{"LDIFLocationURL", e.Location})
		}
		for _, c := range e.Certificates {
			lines = append(lines,
				[2]string{"providerCertificateHash", strings.ToUpper(fingerprint(c.Raw))},
				[2]string{"providerCertificate;binary", string(c.Raw)})
		}
		record(&b, lines)
	}
	return b.Bytes()
}

// formatFound writes entries as a directory answered them, in the LDIF that [Parse] reads.
func formatFound(found []*ldap.Entry) []byte {
	var b bytes.Buffer
	b.WriteString("version: 1\n\n")
	for _, e := range found {
		lines := [][2]string{{"dn", e.DN}}
		for _, a := range e.Attributes {
			for _, value := range a.ByteValues {
				lines = append(lines, [2]string{a.Name, string(value)})
			}
		}
		record(&b, lines)
	}
	return b.Bytes()
}

// record writes one entry; a value that is no safe string (RFC 2849) goes in base64, long lines are folded.
func record(b *bytes.Buffer, lines [][2]string) {
	const width = 76
	for _, l := range lines {
		line := l[0] + ": " + l[1]
		if !isSafe(l[1]) {
			line = l[0] + ":: " + base64.StdEncoding.EncodeToString([]byte(l[1]))
		}
		for len(line) > width {
			fmt.Fprintf(b, "%s\n ", line[:width])
			line = line[width:]
		}
		b.WriteString(line + "\n")
	}
	b.WriteByte('\n')
}

func isSafe(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == "" || (!strings.ContainsAny(s[:1], " :<") && s[len(s)-1] != ' ')
}

// escapeDN escapes what RFC 4514 2.4 reserves.
func escapeDN(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `+`, `\+`, `"`, `\"`, `<`, `\<`, `>`, `\>`, `;`, `\;`, `=`, `\=`).Replace(s)
}
