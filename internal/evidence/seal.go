package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/durable"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// Seal closes one day of Europe/Rome: which records it holds, and the hash that they end in. Its file is signed, and the signature
// is time-stamped, so that nobody (the provider neither) can write the day anew later.
type Seal struct {
	Version  int    `json:"version"`
	Domain   string `json:"domain"`
	Site     string `json:"site"`
	Provider string `json:"provider"` // the address in the signing certificate
	Day      string `json:"day"`      // 2026-11-21
	First    uint64 `json:"first"`    // the first record of the day, or of the days without a seal before it
	Last     uint64 `json:"last"`
	Head     string `json:"head"`     // hash of the record Last
	Previous string `json:"previous"` // SHA-256 of the file of the seal before; "" for the first
	// Closed is when the seal was made; the signature names the same instant.
	Closed time.Time `json:"closed"`

	digest string // of its file
}

const sealVersion = 1

// The files of a seal, below the log's directory. The first one makes it exist.
const (
	sealDir         = "seals"
	sealSuffix      = ".json"
	signatureSuffix = ".json.p7s"
	stampSuffix     = ".json.p7s.tsr"
)

// The kinds of the log's own records. A seal is recorded, so that one that is taken away is missed.
const (
	KindSealed  = "sealed"       // day
	KindStamped = "time-stamped" // day
)

type sealedData struct {
	Seal      string `json:"seal"`      // SHA-256 of the seal's file
	Signature string `json:"signature"` // SHA-256
}

type stampedData struct {
	Stamp string `json:"stamp"` // SHA-256 of the authority's answer
}

func sealPath(dir, day, suffix string) string { return filepath.Join(dir, sealDir, day+suffix) }

// readSeals reads the seals of the log in dir, by day. With an error it returns those that can be read.
func readSeals(dir string) (seals []Seal, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, sealDir, "*"+sealSuffix))
	if err != nil {
		return nil, fmt.Errorf("listing seals: %w", err)
	}
	for _, path := range paths {
		s, bad := readSeal(path)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("reading seal: %w", bad))
			continue
		}
		seals = append(seals, s)
	}
	return seals, err
}

func readSeal(path string) (s Seal, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if name := strings.TrimSuffix(filepath.Base(path), sealSuffix); s.Day != name {
		return s, fmt.Errorf("%s: it is the seal of %q", path, s.Day)
	}
	s.digest = hexDigest(raw)
	return s, nil
}

func hexDigest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Sealer closes the days of a log: it signs each once it has ended, and has the signature time-stamped. Neither can hold up mail:
// what fails is tried again, and shows in State.
type Sealer struct {
	Log                    *Log
	Domain, Site, Provider string
	Now                    func() time.Time
	// Sign makes a detached signature over content, dated at.
	Sign func(content []byte, at time.Time) ([]byte, error)
	// Stamp has content time-stamped and returns the authority's answer; nil when there is no authority.
	Stamp func(ctx context.Context, content []byte) (answer []byte, err error)

	mu    sync.Mutex
	state SealState
}

// SealState is how far the sealing is.
type SealState struct {
	Last      Seal   // zero if there is none
	Unsealed  int    // days that have ended and have no seal
	Unstamped int    // seals that wait for their time-stamp
	Oldest    string // the oldest day of both, "" if there is none
	Err       error  // of the last attempt
}

// Late says whether something still waits so long after the end of its day.
func (s SealState) Late(now time.Time, after time.Duration) bool {
	day, err := time.ParseInLocation(time.DateOnly, s.Oldest, pec.Rome())
	return err == nil && now.Sub(nextDay(day)) > after
}

// Pauses of Run.
const (
	sealRetry = 5 * time.Minute
	sealLook  = time.Hour // a machine that slept, a clock that was set
)

// Run seals until the context ends.
func (s *Sealer) Run(ctx context.Context) error {
	for {
		s.Pass(ctx)
		pause := min(sealLook, nextDay(s.Now()).Sub(s.Now())+time.Second)
		if s.State().Err != nil {
			pause = min(pause, sealRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// nextDay is the midnight of Europe/Rome that follows.
func nextDay(t time.Time) time.Time {
	local := t.In(pec.Rome())
	return time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, pec.Rome())
}

// State is what the last pass left.
func (s *Sealer) State() SealState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Pass seals every day that has ended, the missed ones too, and asks for the time-stamps that are missing.
func (s *Sealer) Pass(ctx context.Context) {
	seals, err := readSeals(s.Log.dir)
	if err == nil {
		seals, err = s.seal(seals)
	}
	state := SealState{Err: err}
	if n := len(seals); n > 0 {
		state.Last = seals[n-1]
	}
	for _, d := range s.Log.ended(dayOf(s.Now())) {
		if d.name > state.Last.Day {
			state.wait(&state.Unsealed, d.name)
		}
	}
	var failed error
	for _, sealed := range seals {
		stamped, err := s.stamped(sealed.Day)
		if !stamped && err == nil && failed == nil { // once it failed, the others would wait for the same authority
			err = s.stamp(ctx, sealed.Day)
			stamped = err == nil
		}
		if failed = errors.Join(failed, err); !stamped {
			state.wait(&state.Unstamped, sealed.Day)
		}
	}
	state.Err = errors.Join(state.Err, failed)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *SealState) wait(count *int, day string) {
	*count++
	if s.Oldest == "" || day < s.Oldest {
		s.Oldest = day
	}
}

// seal makes the seals that are missing. A seal whose record a crash swallowed gets it now.
func (s *Sealer) seal(seals []Seal) ([]Seal, error) {
	var before Seal
	if n := len(seals); n > 0 {
		before = seals[n-1]
		if err := s.recordSeal(before.Day); err != nil {
			return seals, err
		}
	}
	for _, d := range s.Log.ended(dayOf(s.Now())) {
		if d.name <= before.Day || d.last.Seq <= before.Last {
			continue
		}
		next := Seal{
			Version: sealVersion, Domain: s.Domain, Site: s.Site, Provider: s.Provider, Day: d.name, First: before.Last + 1,
			Last: d.last.Seq, Head: d.last.Head, Previous: before.digest, Closed: s.Now().UTC().Truncate(time.Second),
		}
		if err := s.write(&next); err != nil {
			return seals, fmt.Errorf("sealing %s: %w", d.name, err)
		}
		seals, before = append(seals, next), next
	}
	return seals, nil
}

// write signs and writes one seal; its own file comes last, because that makes it exist.
func (s *Sealer) write(seal *Seal) error {
	raw, err := json.MarshalIndent(seal, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	signature, err := s.Sign(raw, seal.Closed)
	if err != nil {
		return err
	}
	if err := durable.Write(sealPath(s.Log.dir, seal.Day, signatureSuffix), signature, fileMode); err != nil {
		return err
	}
	if err := durable.Write(sealPath(s.Log.dir, seal.Day, sealSuffix), raw, fileMode); err != nil {
		return err
	}
	seal.digest = hexDigest(raw)
	return s.recordSeal(seal.Day)
}

func (s *Sealer) recordSeal(day string) error {
	raw, err := os.ReadFile(sealPath(s.Log.dir, day, sealSuffix))
	if err != nil {
		return fmt.Errorf("reading seal: %w", err)
	}
	signature, err := os.ReadFile(sealPath(s.Log.dir, day, signatureSuffix))
	if err != nil {
		return fmt.Errorf("reading seal: %w", err)
	}
	_, err = s.Log.Append(KindSealed, day, "", sealedData{Seal: hexDigest(raw), Signature: hexDigest(signature)})
	return err
}

// stamped says whether the seal of a day has its time-stamp, or there is no authority to ask. One whose record a crash swallowed
// gets it now.
func (s *Sealer) stamped(day string) (bool, error) {
	answer, err := os.ReadFile(sealPath(s.Log.dir, day, stampSuffix))
	if errors.Is(err, os.ErrNotExist) {
		return s.Stamp == nil, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading time-stamp: %w", err)
	}
	_, err = s.Log.Append(KindStamped, day, "", stampedData{Stamp: hexDigest(answer)})
	return err == nil, err
}

func (s *Sealer) stamp(ctx context.Context, day string) error {
	path := sealPath(s.Log.dir, day, stampSuffix)
	signature, err := os.ReadFile(sealPath(s.Log.dir, day, signatureSuffix))
	if err != nil {
		return fmt.Errorf("time-stamping %s: %w", day, err)
	}
	answer, err := s.Stamp(ctx, signature)
	if err != nil {
		return fmt.Errorf("time-stamping %s: %w", day, err)
	}
	if err := durable.Write(path, answer, fileMode); err != nil {
		return fmt.Errorf("time-stamping %s: %w", day, err)
	}
	_, err = s.stamped(day)
	return err
}
