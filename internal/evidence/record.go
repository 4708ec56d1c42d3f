package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Record is one event. Records are immutable: a correction is another record.
type Record struct {
	Seq  uint64    `json:"seq"` // from 1, without gaps
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	// Key names the event within its kind. It derives from the event's input, so that a retry finds the first record.
	Key        string          `json:"key"`
	Identifier string          `json:"identifier,omitempty"` // the PEC identifier that the event belongs to
	Data       json.RawMessage `json:"data,omitempty"`
	Prev       string          `json:"prev"` // Hash of the record before; "" for the first
	Hash       string          `json:"-"`    // hex SHA-256 of the line up to its hash field
}

// Decode reads the record's data into v.
func (r Record) Decode(v any) error {
	if err := json.Unmarshal(r.Data, v); err != nil {
		return fmt.Errorf("decoding evidence record %d (%s): %w", r.Seq, r.Kind, err)
	}
	return nil
}

// A line is the record's JSON with its hash as last field, so that the hash can be checked over the bytes as they lie on
// disk: re-serialising before hashing would call two different lines equal.
const (
	hashOpen  = `,"hash":"`
	hashClose = "\"}\n"
	hashSize  = len(hashOpen) + 2*sha256.Size + len(hashClose)
)

// errBroken marks a line that is not a record as we write them.
var errBroken = errors.New("not an intact record")

// encode makes the record's line and sets its hash.
func (r *Record) encode() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding evidence record %s %q: %w", r.Kind, r.Key, err)
	}
	body = body[:len(body)-1] // the closing brace comes after the hash
	sum := sha256.Sum256(body)
	r.Hash = hex.EncodeToString(sum[:])
	line := append(body, hashOpen...)
	line = append(line, r.Hash...)
	return append(line, hashClose...), nil
}

// decodeLine reads one line, newline included, and verifies its hash.
func decodeLine(line []byte) (Record, error) {
	var r Record
	if len(line) <= hashSize {
		return r, errBroken
	}
	body, tail := line[:len(line)-hashSize], line[len(line)-hashSize:]
	sum := sha256.Sum256(body)
	r.Hash = hex.EncodeToString(sum[:])
	if !bytes.Equal(tail, []byte(hashOpen+r.Hash+hashClose)) {
		return r, errBroken
	}
	if err := json.Unmarshal(append(bytes.Clone(body), '}'), &r); err != nil {
		return r, fmt.Errorf("%w: %w", errBroken, err)
	}
	return r, nil
}
