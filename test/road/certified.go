package road

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Certified is what a reader other than ours finds in a certified message: OpenSSL says that the signature holds, xmllint that
// the certification data are valid, and Go's own MIME reader takes the parts out. It shares no code with internal/pec on purpose.
type Certified struct {
	Header    mail.Header
	Raw       []byte
	Data      Data
	XML       []byte // daticert.xml itself
	Postacert []byte // the original, nil where the message carries none
}

// Data is daticert.xml as far as the road looks at it.
type Data struct {
	Type       string   `xml:"tipo,attr"`
	Error      string   `xml:"errore,attr"`
	Sender     string   `xml:"intestazione>mittente"`
	Recipients []string `xml:"intestazione>destinatari"`
	Provider   string   `xml:"dati>gestore-emittente"`
	Identifier string   `xml:"dati>identificativo"`
	MessageID  string   `xml:"dati>msgid"`
	Delivery   string   `xml:"dati>consegna"`
	Extended   string   `xml:"dati>errore-esteso"`
	Receipt    struct {
		Kind string `xml:"tipo,attr"`
	} `xml:"dati>ricevuta"`
}

// MessageIDOf answers the Message-ID of a raw message, without brackets.
func MessageIDOf(raw []byte) string {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return ""
	}
	return strings.Trim(m.Header.Get("Message-Id"), "<> ")
}

// Open takes a certified message apart without judging its signature.
func Open(raw []byte) (Certified, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Certified{}, fmt.Errorf("reading message: %w", err)
	}
	c := Certified{Header: m.Header, Raw: raw}
	signed, err := firstPart(m.Header.Get("Content-Type"), m.Body)
	if err != nil {
		return c, fmt.Errorf("reading multipart/signed: %w", err)
	}
	err = eachPart(signed.Header.Get("Content-Type"), signed, func(part *multipart.Part) error {
		body, err := decoded(part)
		if err != nil {
			return err
		}
		switch part.FileName() {
		case "daticert.xml":
			c.XML = body
			return xml.Unmarshal(body, &c.Data)
		case "postacert.eml":
			c.Postacert = body
		}
		return nil
	})
	if err == nil && c.Data.Type == "" {
		err = errors.New("no daticert.xml in the signed part")
	}
	return c, err
}

// Verify has OpenSSL verify the signature against the roots and xmllint the certification data against the DTD.
func (c Certified) Verify(ctx context.Context, rootsPEM []byte, dtd string) error {
	dir, err := os.MkdirTemp("", "pec-verify")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary folder harms nobody
	message, roots, data := filepath.Join(dir, "message.eml"), filepath.Join(dir, "roots.pem"), filepath.Join(dir, "daticert.xml")
	if err := errors.Join(os.WriteFile(message, c.Raw, 0o600), os.WriteFile(roots, rootsPEM, 0o600), os.WriteFile(data, c.XML, 0o600)); err != nil {
		return err
	}
	if err := tool(ctx, "openssl", "cms", "-verify", "-in", message, "-CAfile", roots, "-purpose", "any", "-out", filepath.Join(dir, "signed")); err != nil {
		return fmt.Errorf("signature of %s: %w", c.Header.Get("Subject"), err)
	}
	if err := tool(ctx, "xmllint", "--noout", "--nonet", "--dtdvalid", dtd, data); err != nil {
		return fmt.Errorf("daticert.xml of %s: %w", c.Header.Get("Subject"), err)
	}
	return nil
}

// Original undoes the only two changes that certification makes to an original (RFC 6109 section 2.2.1): the provider's identifier
// in place of the client's Message-ID, and the client's kept in X-Riferimento-Message-ID.
func (c Certified) Original() []byte {
	original := bytes.Replace(c.Postacert, []byte("<"+c.Data.Identifier+">"), []byte(c.Data.MessageID), 1)
	return bytes.Replace(original, []byte("X-Riferimento-Message-ID: "+c.Data.MessageID+"\r\n"), nil, 1)
}

func tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

func firstPart(contentType string, body io.Reader) (*multipart.Part, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	return multipart.NewReader(body, params["boundary"]).NextRawPart()
}

func eachPart(contentType string, body io.Reader, visit func(*multipart.Part) error) error {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	parts := multipart.NewReader(body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(part); err != nil {
			return err
		}
	}
}

func decoded(part *multipart.Part) ([]byte, error) {
	if strings.EqualFold(part.Header.Get("Content-Transfer-Encoding"), "base64") {
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
	}
	return io.ReadAll(part)
}
