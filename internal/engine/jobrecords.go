package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pec-operator/pec-operator/internal/durable"
	"github.com/pec-operator/pec-operator/internal/store"
)

// Records are what jobs keep with a mailbox besides mail: how far a copy is, and the manifest of what was copied. They lie in the
// engine's state, one file each, and outlive the job, the resource and the mailbox.
const (
	recordsDir = "records"
	// immutable records are proofs: a later one has another name.
	immutable = "manifest-"
	maxRecord = 128 << 20
)

var recordForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,199}$`)

// jobRecordPath is where a record of a mailbox lies; the directory's form of addresses makes it a safe name.
func (e *Engine) jobRecordPath(r storeRequest) (string, error) {
	name := r.arg("name")
	if !recordForm.MatchString(name) || strings.Contains(name, "..") {
		return "", fmt.Errorf("record %q: %w", name, store.ErrInvalid)
	}
	row, err := e.directory.Mailbox(r.Context(), r.mailbox)
	return filepath.Join(e.settings.Files.State, recordsDir, row.Address, name), err
}

func (e *Engine) readJobRecord(w http.ResponseWriter, r storeRequest) (any, error) {
	path, err := e.jobRecordPath(r)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("record %s of %s: %w", r.arg("name"), r.mailbox, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading record %s of %s: %w", r.arg("name"), r.mailbox, err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(raw) // a cut answer is shorter than announced
	return streamed, nil
}

func (e *Engine) keepJobRecord(w http.ResponseWriter, r storeRequest) (any, error) {
	path, err := e.jobRecordPath(r)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("taking record %s of %s: %w", r.arg("name"), r.mailbox, err)
	}
	if strings.HasPrefix(filepath.Base(path), immutable) {
		before, err := os.ReadFile(path)
		switch {
		case err == nil && !bytes.Equal(before, raw):
			return nil, fmt.Errorf("%w: another manifest %s of %s is there, and it stays", store.ErrInvalid, r.arg("name"), r.mailbox)
		case err == nil:
			return nil, nil
		}
		if err := e.attest(r.mailbox, filepath.Base(path), raw); err != nil {
			return nil, err
		}
	}
	if err := durable.Write(path, raw, 0o600); err != nil {
		return nil, fmt.Errorf("keeping record %s of %s: %w", r.arg("name"), r.mailbox, err)
	}
	return nil, nil
}

// manifestRecord is a proof that is in custody.
type manifestRecord struct {
	Mailbox string `json:"mailbox"`
	Name    string `json:"name"`
	Digest  string `json:"digest"`
}

// attest enters a proof in the log and in custody, as a message: it must outlive the file, and be where the log's records are.
func (e *Engine) attest(mailbox, name string, raw []byte) error {
	digest, err := e.custody.Put(raw)
	if err != nil {
		return err
	}
	proof := manifestRecord{Mailbox: fold(mailbox), Name: name, Digest: digest}
	_, err = e.record(kindManifest, proof.Mailbox+" "+name, "", &proof)
	return err
}
