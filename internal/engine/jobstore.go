package engine

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/store"
)

const (
	// maxStoredMessage bounds a message that a job saves: the largest that anybody may have configured, doubled for its coding.
	maxStoredMessage = 256 << 20
	// syncAfterSave is how long a mailbox that a job fills waits for its next sync.
	syncAfterSave = 10 * time.Second
)

// jobOf is the one job's URI in the other end's certificate, "" if it is no job's.
func jobOf(state *tls.ConnectionState, site string) string {
	if len(state.PeerCertificates) == 0 || len(state.PeerCertificates[0].URIs) != 1 {
		return ""
	}
	if uri := state.PeerCertificates[0].URIs[0].String(); strings.HasPrefix(uri, admin.JobURIs(site)) {
		return uri
	}
	return ""
}

func (e *Engine) putGrant(r *http.Request) (any, error) {
	g, err := readRequest[admin.Grant](r)
	if err != nil {
		return nil, err
	}
	if len(g.Addresses) > 0 && !g.Until.After(e.now()) {
		return nil, fmt.Errorf("grant until %s: %w: it has ended", g.Until, directory.ErrInvalid)
	}
	return nil, e.directory.PutGrant(r.Context(), admin.JobURI(e.settings.Site, r.PathValue("namespace"), r.PathValue("name")), g, e.now())
}

// storeRequest is a job's request about the mailbox that it was granted.
type storeRequest struct {
	*http.Request
	mailbox string
}

func (r storeRequest) arg(name string) string { return r.URL.Query().Get(name) }

// serveStore adds the API of package store.
func (e *Engine) serveStore(mux *http.ServeMux) {
	handle := func(pattern string, write bool, answer func(http.ResponseWriter, storeRequest) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s := storeRequest{r, fold(r.PathValue("address"))}
			err := e.admit(s, write)
			var result any
			if err == nil {
				result, err = answer(w, s)
			}
			if err != nil || result != streamed {
				e.answerAdmin(w, r, result, err)
			}
		})
	}
	handle("GET /v1/store/{address}/folders", false, e.storeFolders)
	handle("PUT /v1/store/{address}/folder", true, e.storeFolder)
	handle("GET /v1/store/{address}/messages", false, e.storeMessages)
	handle("GET /v1/store/{address}/message", false, e.storeOpen)
	handle("PUT /v1/store/{address}/message", true, e.storeSave)
	handle("PUT /v1/store/{address}/flags", true, e.storeFlags)
	handle("GET /v1/store/{address}/record", false, e.readJobRecord)
	handle("PUT /v1/store/{address}/record", true, e.keepJobRecord)
}

// streamed is the result of who answered by itself.
const streamed = "streamed"

// admit says whether the job of a request has a grant for it now.
func (e *Engine) admit(r storeRequest, write bool) error {
	job := jobOf(r.TLS, e.settings.Site)
	if job == "" {
		return fmt.Errorf("%w: the certificate is no job's", store.ErrDenied)
	}
	mayRead, mayWrite, err := e.directory.Granted(r.Context(), job, r.mailbox, e.now())
	switch {
	case err != nil:
		return err
	case !mayRead:
		return fmt.Errorf("%w: %s has no grant for this mailbox", store.ErrDenied, job)
	case write && !mayWrite:
		return fmt.Errorf("%w: the grant of %s is for reading", store.ErrDenied, job)
	}
	return nil
}

var guidForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// checkFolder refuses what doveadm would take for a pattern, or for something else.
func checkFolder(name string) error {
	if name == "" || len(name) > 1000 || strings.ContainsAny(name, "*%\x00\r\n") || strings.HasPrefix(name, "-") {
		return fmt.Errorf("folder %q: %w: a folder's name is not empty, does not begin with - and has no * and %%", name, store.ErrInvalid)
	}
	return nil
}

func (e *Engine) storeFolders(_ http.ResponseWriter, r storeRequest) (any, error) {
	folders := []store.Folder{}
	err := e.doveadmTCP.with(r.Context(), func(c *doveadmConn) error {
		return c.run(4, func(f []string) error {
			numbers, err := parseNumbers(f[1:])
			if err == nil {
				folders = append(folders, store.Folder{Name: f[0], Messages: numbers[0], UIDNext: numbers[1], UIDValidity: numbers[2]})
			}
			return err
		}, r.mailbox, "mailbox status", "messages uidnext uidvalidity", "*")
	})
	return folders, err
}

func parseNumbers(fields []string) ([]uint32, error) {
	numbers := make([]uint32, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: number %q", errWire, f)
		}
		numbers[i] = uint32(n)
	}
	return numbers, nil
}

func (e *Engine) storeFolder(_ http.ResponseWriter, r storeRequest) (any, error) {
	name := r.arg("name")
	if err := checkFolder(name); err != nil {
		return nil, err
	}
	return nil, e.makeFolder(r.Context(), r.mailbox, name, "-s") // subscribed: many clients show no other
}

// makeFolder makes a folder that is not there; options are those of doveadm mailbox create.
func (e *Engine) makeFolder(ctx context.Context, mailbox, name string, options ...string) error {
	return e.doveadmTCP.with(ctx, func(c *doveadmConn) error {
		there := false
		// All of them: asked for one name, doveadm repeats it whether it is there or not.
		err := c.run(1, func(f []string) error { there = there || f[0] == name; return nil }, mailbox, "mailbox list")
		if err != nil || there {
			return err
		}
		return c.run(1, ignoreRow, mailbox, "mailbox create", append(options, name)...)
	})
}

func ignoreRow([]string) error { return nil }

const messageFields = "guid uid date.received.unixtime size.virtual flags mailbox"

func (e *Engine) storeMessages(_ http.ResponseWriter, r storeRequest) (any, error) {
	folder := r.arg("folder")
	after, err := strconv.ParseUint(r.arg("after"), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("after %q: %w", r.arg("after"), store.ErrInvalid)
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	page := store.Page{Messages: []store.Message{}}
	last := min(after+store.PageSize, 1<<32-1)
	err = e.doveadmTCP.with(r.Context(), func(c *doveadmConn) error {
		next, err := c.uidNext(r.mailbox, folder)
		if err != nil {
			return err
		}
		if last+1 < uint64(next) {
			page.Next = uint32(last)
		}
		return c.run(6, func(f []string) error {
			m, err := parseMessage(f)
			if err == nil && f[5] == folder && uint64(m.UID) > after {
				page.Messages = append(page.Messages, m)
			}
			return err
		}, r.mailbox, "fetch", messageFields, "mailbox", folder, "uid", fmt.Sprintf("%d:%d", after+1, last))
	})
	return page, err
}

// uidNext is the UID that a folder's next message gets; store.ErrNotFound if there is no such folder.
func (c *doveadmConn) uidNext(mailbox, folder string) (next uint32, err error) {
	err = c.run(2, func(f []string) error {
		if f[0] != folder {
			return nil
		}
		numbers, err := parseNumbers(f[1:])
		if err == nil {
			next = numbers[0]
		}
		return err
	}, mailbox, "mailbox status", "uidnext", folder)
	if err == nil && next == 0 {
		err = fmt.Errorf("%w: no folder %q", store.ErrNotFound, folder)
	}
	return next, err
}

func parseMessage(f []string) (store.Message, error) {
	numbers, err := parseNumbers(f[1:2])
	date, dateErr := strconv.ParseInt(f[2], 10, 64)
	size, sizeErr := strconv.ParseInt(f[3], 10, 64)
	if err != nil || dateErr != nil || sizeErr != nil {
		return store.Message{}, fmt.Errorf("%w: message %q", errWire, f)
	}
	return store.Message{GUID: f[0], UID: numbers[0], Date: time.Unix(date, 0).UTC(), Size: size, Flags: lastingFlags(f[4])}, nil
}

func (e *Engine) storeOpen(w http.ResponseWriter, r storeRequest) (any, error) {
	folder := r.arg("folder")
	uid, err := strconv.ParseUint(r.arg("uid"), 10, 32)
	if err != nil || uid == 0 {
		return nil, fmt.Errorf("uid %q: %w", r.arg("uid"), store.ErrInvalid)
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	begun := false
	err = e.doveadmTCP.with(r.Context(), func(c *doveadmConn) error {
		if err := c.send(r.mailbox, "fetch", "text", "mailbox", folder, "uid", strconv.FormatUint(uid, 10)); err != nil {
			return err
		}
		return c.text(w, func() {
			begun = true
			w.Header().Set("Content-Type", "message/rfc822")
		})
	})
	if err != nil {
		err = fmt.Errorf("message %d of folder %q of %s: %w", uid, folder, r.mailbox, err)
	}
	if err != nil && begun {
		e.log.Warn("sending a message to a job", "mailbox", r.mailbox, "error", err)
		panic(http.ErrAbortHandler) // the job must see a cut answer, not the end of the message
	}
	return streamed, err
}

// parseNew reads what is to be saved.
func parseNew(r storeRequest) (store.New, error) {
	m := store.New{Folder: r.arg("folder"), GUID: r.arg("guid"), SHA256: r.arg("sha256"), Flags: r.URL.Query()["flag"]}
	if err := checkFolder(m.Folder); err != nil {
		return m, err
	}
	numbers, err := parseNumbers([]string{r.arg("uid"), r.arg("seen")})
	date, dateErr := strconv.ParseInt(r.arg("date"), 10, 64)
	switch {
	case err != nil || dateErr != nil:
		return m, fmt.Errorf("%w: uid, seen and date must be numbers", store.ErrInvalid)
	case !guidForm.MatchString(m.GUID) || len(m.SHA256) != sha256.Size*2:
		return m, fmt.Errorf("%w: guid must be 32 and sha256 64 hex digits", store.ErrInvalid)
	}
	m.UID, m.Seen, m.Date = numbers[0], numbers[1], time.Unix(date, 0)
	return m, checkFlags(m.Flags)
}

func checkFlags(flags []string) error {
	for _, f := range flags {
		if !store.ValidFlag(f) {
			return fmt.Errorf("flag %q: %w", f, store.ErrInvalid)
		}
	}
	return nil
}

func (e *Engine) storeSave(w http.ResponseWriter, r storeRequest) (any, error) {
	m, err := parseNew(r)
	if err != nil {
		return nil, err
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(doveadmTimeout)); err != nil {
		return nil, fmt.Errorf("taking a message: %w", err)
	}
	var saved store.Saved
	err = e.doveadmTCP.with(r.Context(), func(c *doveadmConn) (err error) {
		uid, err := c.find(r.mailbox, m.Folder, m.GUID, m.Seen)
		if err != nil || uid > 0 {
			saved = store.Saved{UID: uid, Existed: true}
			return err
		}
		if err := c.save(r.mailbox, m, http.MaxBytesReader(w, r.Body, maxStoredMessage)); err != nil {
			return err
		}
		if saved.UID, err = c.find(r.mailbox, m.Folder, m.GUID, m.Seen); err != nil || len(m.Flags) == 0 {
			return err
		}
		return c.setFlags(r.mailbox, m.Folder, saved.UID, m.Flags)
	})
	if err == nil && !saved.Existed {
		e.sync.put(r.mailbox, e.now().Add(syncAfterSave))
	}
	return saved, err
}

// find is the UID of a message with a GUID in a folder above another UID; 0 when there is none.
func (c *doveadmConn) find(mailbox, folder, guid string, above uint32) (uid uint32, err error) {
	return uid, c.run(3, func(f []string) error {
		if f[0] != guid || f[2] != folder {
			return nil
		}
		numbers, err := parseNumbers(f[1:2])
		if err == nil && numbers[0] > above {
			uid = numbers[0]
		}
		return err
	}, mailbox, "fetch", "guid uid mailbox", "mailbox", folder, "uid", fmt.Sprintf("%d:*", uint64(above)+1), "guid", guid)
}

// save stores a message, if its bytes are those that it should have.
func (c *doveadmConn) save(mailbox string, m store.New, body io.Reader) error {
	arguments := []string{"-m", m.Folder, "-g", m.GUID, "-r", strconv.FormatInt(m.Date.Unix(), 10)}
	if m.UID > 0 {
		arguments = append(arguments, "-U", strconv.FormatUint(uint64(m.UID), 10))
	}
	if err := c.send(mailbox, "save", arguments...); err != nil {
		return err
	}
	hash := sha256.New()
	if err := c.stuff(io.TeeReader(body, hash)); err != nil {
		return fmt.Errorf("saving a message in %s: %w", mailbox, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != m.SHA256 {
		_ = c.Close() // Dovecot drops a message that does not end
		return fmt.Errorf("saving a message in %s: %w: its bytes have the digest %s", mailbox, store.ErrInvalid, got)
	}
	return c.finish()
}

func (e *Engine) storeFlags(_ http.ResponseWriter, r storeRequest) (any, error) {
	folder, guid, flags := r.arg("folder"), r.arg("guid"), r.URL.Query()["flag"]
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	if err := checkFlags(flags); err != nil {
		return nil, err
	}
	if !guidForm.MatchString(guid) {
		return nil, fmt.Errorf("guid %q: %w", guid, store.ErrInvalid)
	}
	err := e.doveadmTCP.with(r.Context(), func(c *doveadmConn) error {
		uid, err := c.find(r.mailbox, folder, guid, 0)
		if err == nil && uid == 0 {
			err = fmt.Errorf("%w: no message %s", store.ErrNotFound, guid)
		}
		if err != nil {
			return err
		}
		return c.setFlags(r.mailbox, folder, uid, flags)
	})
	if err == nil {
		e.sync.put(r.mailbox, e.now().Add(syncAfterSave))
	}
	return nil, err
}

func (c *doveadmConn) setFlags(mailbox, folder string, uid uint32, flags []string) error {
	return c.run(1, ignoreRow, mailbox, "flags replace", strings.Join(flags, " "), "mailbox", folder, "uid", strconv.FormatUint(uint64(uid), 10))
}
