// Package store is the contract between a Job and an engine: what a Job may do with the mail of the mailboxes that the operator
// granted to it, and the client for it.
//
// It is served by the engine's admin port, over the same mutual TLS, to a certificate of the site's CA whose URI is that of a job
// (admin.JobURI). A job reaches these paths only, for the addresses of its grant (admin.Grant) only, until the grant ends.
// Nothing here deletes a message or changes the bytes of one.
//
//	GET /v1/store/{address}/folders                    []Folder
//	PUT /v1/store/{address}/folder?name=               makes the folder unless it is there
//	GET /v1/store/{address}/messages?folder=&after=    Page
//	GET /v1/store/{address}/message?folder=&uid=       the message's bytes, lines ended by CRLF
//	PUT /v1/store/{address}/message?folder=&guid=&...  Saved; the body is the message
//	PUT /v1/store/{address}/flags?folder=&guid=&flag=  replaces the flags of a message
//	GET /v1/store/{address}/record?name=               what was kept under a name; 404 when nothing was
//	PUT /v1/store/{address}/record?name=               keeps the body under a name; what is kept as "manifest-..." stays as it is
package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// PageSize is how many UIDs one Page spans.
const PageSize = 10000

// Expunged is the folder that keeps what a holder deleted, out of his sight and quota. After a merge it has the copies of both sites.
const Expunged = "EXPUNGED"

// Folder is a folder that can hold messages. Names are UTF-8, with "/" between levels.
type Folder struct {
	Name        string `json:"name"`
	UIDValidity uint32 `json:"uidValidity"`
	UIDNext     uint32 `json:"uidNext"`
	Messages    uint32 `json:"messages"`
}

// Message is what a store knows of a message besides its bytes.
type Message struct {
	GUID string    `json:"guid"`
	UID  uint32    `json:"uid"`
	Date time.Time `json:"date"` // INTERNALDATE, whole seconds, UTC
	Size int64     `json:"size"` // with lines ended by CRLF
	// Flags are system flags (\Seen) and keywords, in no order; \Recent is left out.
	Flags []string `json:"flags"`
}

// Page is a part of a folder's messages, by UID.
type Page struct {
	Messages []Message `json:"messages"`
	// Next is what to ask after for the next page; 0 on the last.
	Next uint32 `json:"next"`
}

// New is a message to be saved.
type New struct {
	Folder string
	// GUID is 32 hex digits that derive from the whole message: one GUID with two bodies is silently one body after a sync.
	GUID string
	// UID is the wish for one: kept if it is free and above those in use; 0 is no wish.
	UID   uint32
	Date  time.Time
	Flags []string
	// SHA256 of the bytes, in hex: the engine stores nothing else under this GUID.
	SHA256 string
	// Seen is the UID up to which the caller has itself looked for the GUID in vain; the engine looks above it.
	Seen uint32
}

// Saved is what became of a message.
type Saved struct {
	UID uint32 `json:"uid"`
	// Existed says that a message with this GUID was in the folder; nothing was changed.
	Existed bool `json:"existed"`
}

var (
	// ErrNotFound is answered for a mailbox, folder or message that is not there.
	ErrNotFound = errors.New("not in the store")
	// ErrDenied is answered to who has no grant for the mailbox, or only one to read.
	ErrDenied = errors.New("not granted to this job")
	// ErrInvalid is answered to a request that can never succeed.
	ErrInvalid = errors.New("refused by the store")
)

// Digest is the SHA-256 of bytes as the store wants it.
func Digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// DigestOf is Digest of what a reader has left.
func DigestOf(r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return "", fmt.Errorf("reading a message of the store: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

var flagForm = regexp.MustCompile(`^(\\(Seen|Answered|Flagged|Deleted|Draft)|[^\x00-\x20\x7f-\xff(){%*"\\\]]{1,50})$`)

// ValidFlag says whether a message here can have a flag: the five of every store, and keywords of up to 50 characters.
func ValidFlag(flag string) bool { return flagForm.MatchString(flag) }

// Client calls one engine as a job.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client of the engine at base ("https://host:port"). Calls are bounded by their contexts only, because a
// message may be large.
func NewClient(base string, tlsConfig *tls.Config) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute},
	}}
}

// Folders lists the folders of a mailbox.
func (c *Client) Folders(ctx context.Context, address string) (folders []Folder, err error) {
	return folders, c.json(ctx, http.MethodGet, path(address, "folders", nil), nil, &folders)
}

// MakeFolder makes a folder unless it is there.
func (c *Client) MakeFolder(ctx context.Context, address, folder string) error {
	return c.json(ctx, http.MethodPut, path(address, "folder", url.Values{"name": {folder}}), nil, nil)
}

// Messages lists the messages of a folder above a UID, by UID.
func (c *Client) Messages(ctx context.Context, address, folder string, after uint32) ([]Message, error) {
	all := []Message{}
	for {
		var page Page
		query := url.Values{"folder": {folder}, "after": {number(after)}}
		if err := c.json(ctx, http.MethodGet, path(address, "messages", query), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Messages...)
		if page.Next == 0 {
			return all, nil
		}
		after = page.Next
	}
}

// Open reads a message; the caller closes it. An answer that was cut ends in an error, not in EOF.
func (c *Client) Open(ctx context.Context, address, folder string, uid uint32) (io.ReadCloser, error) {
	response, err := c.do(ctx, http.MethodGet, path(address, "message", url.Values{"folder": {folder}, "uid": {number(uid)}}), nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Save stores a message unless its GUID is in the folder already. It is on disk when this returns. Asked again after a failure,
// it stores nothing twice.
func (c *Client) Save(ctx context.Context, address string, m New, body io.Reader) (saved Saved, err error) {
	query := url.Values{
		"folder": {m.Folder}, "guid": {m.GUID}, "uid": {number(m.UID)}, "date": {strconv.FormatInt(m.Date.Unix(), 10)},
		"flag": m.Flags, "sha256": {m.SHA256}, "seen": {number(m.Seen)},
	}
	return saved, c.json(ctx, http.MethodPut, path(address, "message", query), body, &saved)
}

// SetFlags replaces the flags and keywords of a message.
func (c *Client) SetFlags(ctx context.Context, address, folder, guid string, flags []string) error {
	return c.json(ctx, http.MethodPut, path(address, "flags", url.Values{"folder": {folder}, "guid": {guid}, "flag": flags}), nil, nil)
}

// Record reads what was kept with a mailbox under a name; ErrNotFound when nothing was.
func (c *Client) Record(ctx context.Context, address, name string) ([]byte, error) {
	response, err := c.do(ctx, http.MethodGet, path(address, "record", url.Values{"name": {name}}), nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the store's answer: %w", err)
	}
	return raw, nil
}

// PutRecord keeps bytes with a mailbox under a name; they are on disk when this returns.
func (c *Client) PutRecord(ctx context.Context, address, name string, raw []byte) error {
	return c.json(ctx, http.MethodPut, path(address, "record", url.Values{"name": {name}}), bytes.NewReader(raw), nil)
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func path(address, what string, query url.Values) string {
	p := "/v1/store/" + url.PathEscape(address) + "/" + what
	if len(query) > 0 {
		p += "?" + query.Encode()
	}
	return p
}

func (c *Client) json(ctx context.Context, method, path string, body io.Reader, out any) error {
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("decoding the store's answer: %w", err)
	}
	return nil
}

// do asks and answers only a response that is good. Errors repeat the path without its query: a folder's name is its holder's.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("calling the store: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("calling the store: %w", err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	said := strings.TrimSpace(string(text))
	for status, known := range map[int]error{http.StatusNotFound: ErrNotFound, http.StatusForbidden: ErrDenied, http.StatusUnprocessableEntity: ErrInvalid} {
		if response.StatusCode == status {
			return nil, fmt.Errorf("%w: %s", known, said)
		}
	}
	return nil, fmt.Errorf("the store answered %s: %s", response.Status, said)
}
