package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// MaxPlaces bounds the places of one request.
const MaxPlaces = 64

// Place is what a stack is asked to hold of one mailbox: a row, what its holder is given, what its Secret is beside the other site's.
type Place struct {
	Address string   `json:"address"` // lower case
	Mailbox *Mailbox `json:"mailbox,omitempty"`
	Given   *Given   `json:"given,omitempty"`
	// Compared is what this site found of its Secret and the other's.
	Compared *Compared `json:"compared,omitempty"`
	// If is the row as it was judged: nothing is placed when it has become another since. nil places whatever there is.
	If *Mailbox `json:"if,omitempty"`
}

// Placed is a mailbox as the stack holds it.
type Placed struct {
	Mailbox Mailbox `json:"mailbox"` // without its password
	Holder  Holder  `json:"holder"`  // without SentToday, which changes with every message
	// Digest is of all this and of the password.
	Digest string `json:"digest"`
}

// Seal gives what a stack holds its digest. The password's hash is in it, so that one that was changed in the directory shows.
func (p *Placed) Seal(passwordHash string) error {
	p.Mailbox.Password, p.Holder.SentToday, p.Digest = "", 0, ""
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("digesting %s: %w", p.Mailbox.Address, err)
	}
	p.Digest = digest(append(raw, passwordHash...))
	return nil
}

// Answer is what became of one Place.
type Answer struct {
	// Placed is the mailbox as it is now; nil when nothing was placed, or when it failed.
	Placed *Placed `json:"placed,omitempty"`
	// Refused is what is wrong with what was asked. The rest may be placed all the same: Placed says what was.
	Refused string `json:"refused,omitempty"`
	// Changed says that it was refused because the row is not If any more.
	Changed bool `json:"changed,omitempty"`
	// Failed is why the place was not carried out to its end, though nothing is wrong with it: it may be half done.
	Failed string `json:"failed,omitempty"`
}

// Digests are those of a directory: one over all, and one for each bucket of addresses.
type Digests struct {
	All     string   `json:"all"`
	Buckets []string `json:"buckets,omitempty"` // left out when All is the one that was known
	Recall  Recall   `json:"recall,omitempty"`
	Log     string   `json:"log,omitempty"` // the name of the engine's log: of another volume it is another
}

// Recall is how far an engine whose log is new is with what its site, and the other one, recorded before: which mailboxes were closed,
// and what holders chose. "" is that of an engine of an earlier release, which does not say.
type Recall string

// How far it is.
const (
	RecallDone     Recall = "Done"     // all of it is in the directory
	RecallUnderWay Recall = "UnderWay" // the other site is giving it: records came within the last minute, or what came is being restored
	RecallSilent   Recall = "Silent"   // there is no other site, or nothing comes of it
)

// Buckets is how many buckets the addresses of a directory fall into: few enough to be compared at once, and enough that one of
// a large directory is read quickly.
const Buckets = 256

// Bucket is the one that an address falls into. Pure.
func Bucket(address string) int {
	sum := sha256.Sum256([]byte(address))
	return int(sum[0])
}

// Tree is the digests of a directory, by address. Two directories whose trees say the same hold the same.
type Tree struct {
	rows [Buckets]map[string]string
	sums [Buckets]string // "" when it must be made anew
}

// Set gives an address its digest; "" takes the address out.
func (t *Tree) Set(address, digest string) {
	b := Bucket(address)
	switch {
	case t.rows[b][address] == digest:
		return
	case digest == "":
		delete(t.rows[b], address)
	case t.rows[b] == nil:
		t.rows[b] = map[string]string{address: digest}
	default:
		t.rows[b][address] = digest
	}
	t.sums[b] = ""
}

// Of are the addresses of a bucket.
func (t *Tree) Of(bucket int) []string { return slices.Collect(maps.Keys(t.rows[bucket])) }

// Digests are those of the tree as it is.
func (t *Tree) Digests() Digests {
	all := make([]byte, 0, Buckets*2*digestBytes)
	for b := range t.sums {
		if t.sums[b] == "" {
			t.sums[b] = t.sum(b)
		}
		all = append(all, t.sums[b]...)
	}
	return Digests{All: digest(all), Buckets: slices.Clone(t.sums[:])}
}

func (t *Tree) sum(bucket int) string {
	var lines []byte
	for _, address := range slices.Sorted(maps.Keys(t.rows[bucket])) {
		lines = fmt.Appendf(lines, "%s %s\n", address, t.rows[bucket][address])
	}
	return digest(lines)
}

// digestBytes are enough against chance; nobody who could choose a row is kept from anything by a digest.
const digestBytes = 16

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:digestBytes])
}

// Digests asks for the directory's digests, of which the one over all may be known.
func (c *Client) Digests(ctx context.Context, known string) (Digests, error) {
	var d Digests
	return d, c.call(ctx, http.MethodGet, "/v1/digests?known="+url.QueryEscape(known), nil, &d)
}

// Placed reads the mailboxes whose addresses fall into some buckets.
func (c *Client) Placed(ctx context.Context, buckets ...int) ([]Placed, error) {
	query := url.Values{}
	for _, b := range buckets {
		query.Add("bucket", strconv.Itoa(b))
	}
	var placed []Placed
	return placed, c.call(ctx, http.MethodGet, "/v1/placed?"+query.Encode(), nil, &placed)
}

// Place asks for up to MaxPlaces places at once, each for itself: what is wrong with one holds up no other. What is Placed is
// durable, and visible to the next login.
func (c *Client) Place(ctx context.Context, places []Place) ([]Answer, error) {
	var answers []Answer
	if err := c.call(ctx, http.MethodPut, "/v1/placed", places, &answers); err != nil {
		return nil, err
	}
	if len(answers) != len(places) {
		return nil, fmt.Errorf("engine gave %d answers to %d places", len(answers), len(places))
	}
	return answers, nil
}
