package engine

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
	"github.com/pec-operator/pec-operator/internal/settings"
)

const indexUsage = `usage: pec-operator index record --settings FILE [--certificate PEM]... [--location URL] [--signed]

Prints this provider's own record of the providers' index (RFC 6109 4.5): its identity, every domain that this stack serves, and the signing
certificate; as LDIF, or signed as .p7m. Run it in the engine's container of the pod.

`

// RunIndex is the command "index" with its arguments.
func RunIndex(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("index record", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, indexUsage); flags.PrintDefaults() }
	path := flags.String("settings", "/etc/pec/engine/engine.json", "engine.json, as the operator renders it")
	location := flags.String("location", "", "`URL` at which the signed record will be published")
	signed := flags.Bool("signed", false, "print the record signed (CMS, DER), to be published as .p7m")
	var certificates []*x509.Certificate
	flags.Func("certificate", "one more certificate, `PEM`: the next one before it signs, the last one until it ends; may be repeated", func(path string) error {
		more, err := readCertificate(path)
		certificates = append(certificates, more)
		return err
	})
	said := len(args) > 0 && args[0] == "record"
	if said {
		args = args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !said {
		flags.Usage()
		return errors.New("say record")
	}
	s, err := settings.Load(*path)
	if err != nil {
		return err
	}
	record, err := ownIndexEntry(ctx, s, certificates, *location)
	if err == nil && *signed {
		var signer *pec.Signer
		if signer, err = newSigner(s).Get(); err == nil {
			record, err = signer.SignEnclosed(record, time.Now())
		}
	}
	if err != nil {
		return err
	}
	_, err = stdout.Write(record)
	return err
}

// ownIndexEntry is the record, with the certificate that signs now first.
func ownIndexEntry(ctx context.Context, s settings.Engine, more []*x509.Certificate, location string) ([]byte, error) {
	d, err := directory.Open(ctx, filepath.Join(s.Files.State, directoryDir))
	if err != nil {
		return nil, err
	}
	held, err := d.Domains(ctx)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	var domains []string
	for _, one := range held {
		if one.Local { // of the others somebody else is the provider
			domains = append(domains, one.Name)
		}
	}
	current, err := readCertificate(s.Files.SigningCert)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(domains, s.Provider.MailDomain) {
		domains = append(domains, s.Provider.MailDomain)
	}
	slices.Sort(domains)
	entry := providers.Entry{
		IndexEntry:   pec.IndexEntry{Name: s.Provider.Name, MailReceipt: s.Provider.MailReceipt, Domains: domains},
		Certificates: []*x509.Certificate{current}, Location: location,
	}
	for _, c := range more {
		if !slices.ContainsFunc(entry.Certificates, c.Equal) {
			entry.Certificates = append(entry.Certificates, c)
		}
	}
	record := providers.Format([]providers.Entry{entry})
	if _, err := providers.Parse(record); err != nil {
		return nil, fmt.Errorf("reading the record back: %w", err)
	}
	return record, nil
}

// readCertificate reads the first certificate of a PEM file.
func readCertificate(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("reading a certificate: %s is not PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %s: %w", path, err)
	}
	return cert, nil
}
