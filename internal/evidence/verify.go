package evidence

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// keepMonths is how long the log is kept (RFC 6109 2.3). Nothing is ever removed here: what is older is listed.
const keepMonths = 30

// Expect is what a verification holds the log against; what is zero is not asked.
type Expect struct {
	Roots    *x509.CertPool // of the seals' certificates and of the time-stamps'
	Provider string         // the address in the certificate of every seal
	Records  uint64         // a head kept elsewhere: the number of a record
	Head     string         // and its hash
	Now      time.Time
}

// Report is what a verification found.
type Report struct {
	Log       string     `json:"log"` // its name
	Domain    string     `json:"domain"`
	Site      string     `json:"site"`
	First     uint64     `json:"first"` // number of the first record that is there
	Records   uint64     `json:"records"`
	Head      string     `json:"head"`
	Seals     []SealSeen `json:"seals"`
	Unsealed  uint64     `json:"unsealed"` // records after the last seal
	Removable []string   `json:"removable"`
	Faults    []string   `json:"faults"` // none: the log is as it was written
	Notes     []string   `json:"notes"`
}

// SealSeen is a seal as it was found.
type SealSeen struct {
	Day     string    `json:"day"`
	First   uint64    `json:"first"`
	Last    uint64    `json:"last"`
	Signer  string    `json:"signer"`
	SHA256  string    `json:"sha256"` // of the signing certificate
	Stamped time.Time `json:"stamped,omitzero"`
	By      string    `json:"by,omitempty"` // the time-stamping authority
	Chains  string    `json:"chains"`       // trusted, not-checked; a chain that is not trusted is a fault
}

// Walk reads the records in dir in order and gives each to visit, whether or not an engine has the log open. What does not verify is
// given to fault, and the reading goes on behind it; a torn last line is none.
func Walk(dir string, visit func(path string, r Record) error, fault func(string)) error {
	paths, err := segmentPaths(dir)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("reading evidence log: %s holds no segment (*%s): give the directory of the log itself", dir, segmentSuffix)
	}
	at := begin(dir, paths)
	for i, path := range paths {
		if at, err = walkSegment(path, at, i == len(paths)-1, visit, fault); err != nil {
			return err
		}
	}
	return nil
}

func walkSegment(path string, at Position, last bool, visit func(string, Record) error, fault func(string)) (Position, error) {
	name := filepath.Base(path)
	if first, err := firstRecord(path); err != nil || first != at.Seq+1 {
		fault(fmt.Sprintf("%s: expected the segment that begins with record %d", name, at.Seq+1))
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return at, fmt.Errorf("reading evidence segment: %w", err)
	}
	offset := 0
	for line := range bytes.Lines(raw) {
		if line[len(line)-1] != '\n' {
			if err := checkTorn(line, last); err != nil {
				fault(fmt.Sprintf("%s at byte %d: %v", name, offset, err))
			}
			return at, nil
		}
		r, err := decodeLine(line)
		switch {
		case err != nil:
			fault(fmt.Sprintf("%s at byte %d, after record %d: %v", name, offset, at.Seq, err))
		case r.Seq != at.Seq+1 || r.Prev != at.Head:
			fault(fmt.Sprintf("%s at byte %d: record %d does not follow record %d", name, offset, r.Seq, at.Seq))
		}
		offset += len(line)
		if err != nil {
			continue
		}
		at = Position{r.Seq, r.Hash}
		if err := visit(path, r); err != nil {
			return at, err
		}
	}
	return at, nil
}

// verification is what one reading of the log gathers.
type verification struct {
	expect Expect
	dir    string
	report *Report
	seals  []Seal

	heads   map[uint64]string // by record, of those that seals and the kept head name
	after   map[string]uint64 // by day of a seal, the first of its records that is not before the day's end
	sealed  map[string]sealedData
	stamped map[string]stampedData
	next    int // the seal that the next record belongs to
	ends    []segmentEnd
}

type segmentEnd struct {
	path string
	last uint64
}

// Verify reads the log in dir with its seals and says all that is wrong with it. An error means that it could not be read.
func Verify(dir string, expect Expect) (Report, error) {
	v := &verification{
		expect: expect, dir: dir, report: &Report{Seals: []SealSeen{}, Removable: []string{}, Faults: []string{}, Notes: []string{}},
		heads: map[uint64]string{}, after: map[string]uint64{}, sealed: map[string]sealedData{}, stamped: map[string]stampedData{},
	}
	var err error
	source := sourceOf(dir)
	v.report.Log, v.report.Site = source.Name, source.Site
	if v.seals, err = readSeals(dir); err != nil {
		v.fault(err.Error())
	}
	if err := Walk(dir, v.visit, v.fault); err != nil {
		return Report{}, err
	}
	v.checkSeals()
	v.checkRecorded()
	v.checkHead()
	v.listRemovable()
	return *v.report, nil
}

func (v *verification) fault(sentence string) { v.report.Faults = append(v.report.Faults, sentence) }

func (v *verification) visit(path string, r Record) error {
	if v.report.First == 0 {
		v.report.First = r.Seq
	}
	v.report.Records, v.report.Head = r.Seq, r.Hash
	for v.next < len(v.seals) && r.Seq > v.seals[v.next].Last {
		v.next++
	}
	if v.next < len(v.seals) {
		s := v.seals[v.next]
		if s.Last == r.Seq {
			v.heads[r.Seq] = r.Hash
		}
		if _, noted := v.after[s.Day]; !noted && r.Seq >= s.First && dayOf(r.Time) > s.Day {
			v.after[s.Day] = r.Seq
		}
	}
	if r.Seq == v.expect.Records {
		v.heads[r.Seq] = r.Hash
	}
	if n := len(v.ends); n > 0 && v.ends[n-1].path == path {
		v.ends[n-1].last = r.Seq
	} else {
		v.ends = append(v.ends, segmentEnd{path, r.Seq})
	}
	switch r.Kind {
	case KindSealed:
		var data sealedData
		v.decode(r, &data)
		v.sealed[r.Key] = data
	case KindStamped:
		var data stampedData
		v.decode(r, &data)
		v.stamped[r.Key] = data
	}
	return nil
}

func (v *verification) decode(r Record, data any) {
	if err := r.Decode(data); err != nil {
		v.fault(err.Error())
	}
}

// checkSeals checks each seal by itself, against the one before it and against the records.
func (v *verification) checkSeals() {
	r := v.report
	r.Unsealed = r.Records - max(r.First, 1) + 1
	if r.First == 0 {
		r.Unsealed = 0
	}
	var before Seal
	for i, s := range v.seals {
		say := func(format string, args ...any) { v.fault("seal of " + s.Day + ": " + fmt.Sprintf(format, args...)) }
		switch {
		case i == 0 && v.begunAt(s) && s.Day > v.limit():
			say("this mirror begins with it, and what was before must be kept %d months", keepMonths)
		case i == 0 && !v.begunAt(s) && (s.First != 1 || s.Previous != ""):
			say("it is the first one that is there, and not the first that was made")
		case i > 0 && (s.First != before.Last+1 || s.Previous != before.digest):
			say("it does not follow the seal of %s: one was removed, exchanged or made anew", before.Day)
		case i > 0 && (s.Domain != before.Domain || s.Site != before.Site):
			say("it is the seal of %s at site %s, and the one before it is not", s.Domain, s.Site)
		}
		r.Domain, r.Site = s.Domain, s.Site
		v.checkRange(s, say)
		seen, err := v.checkSignature(s)
		for _, fault := range err {
			say("%v", fault)
		}
		r.Seals = append(r.Seals, seen)
		r.Unsealed = r.Records - min(r.Records, s.Last)
		before = s
	}
}

// begunAt says whether a seal is the first of a mirror that began behind what was taken away of its log.
func (v *verification) begunAt(s Seal) bool {
	base := readBase(v.dir)
	return isMirror(v.dir) && base.Seq > 0 && s.First == base.Seq+1
}

// checkRange compares a seal with the records that it is about.
func (v *verification) checkRange(s Seal, say func(string, ...any)) {
	head, there := v.heads[s.Last]
	switch {
	case s.Version != sealVersion || s.Last < s.First:
		say("it is of an unknown form")
	case v.report.First > s.Last && s.Day < v.limit():
		// Its records may be gone.
	case v.report.First > s.Last:
		say("its records are not there, and must be kept %d months", keepMonths)
	case v.report.Records < s.Last:
		say("the log ends with record %d, the seal says %d: records were cut off", v.report.Records, s.Last)
	case !there:
		say("record %d is not there", s.Last)
	case head != s.Head:
		say("record %d is not the one that was sealed", s.Last)
	}
	if seq, ok := v.after[s.Day]; ok {
		say("record %d is of a later day", seq)
	}
}

// checkSignature checks a seal's signature and time-stamp.
func (v *verification) checkSignature(s Seal) (SealSeen, []error) {
	seen := SealSeen{Day: s.Day, First: s.First, Last: s.Last, Chains: "not-checked"}
	raw, err := os.ReadFile(sealPath(v.dir, s.Day, sealSuffix))
	if err != nil {
		return seen, []error{err}
	}
	signature, err := os.ReadFile(sealPath(v.dir, s.Day, signatureSuffix))
	if err != nil {
		return seen, []error{errors.New("its signature is not there")}
	}
	signed, err := pec.VerifyDetached(raw, signature)
	if err != nil {
		return seen, []error{fmt.Errorf("its signature does not hold: %w", err)}
	}
	seen.Signer, seen.SHA256 = signed.Signer.Subject.String(), hexDigest(signed.Signer.Raw)
	var faults []error
	if !slices.Contains(signed.Signer.EmailAddresses, s.Provider) {
		faults = append(faults, fmt.Errorf("the certificate is not of %s", s.Provider))
	}
	if v.expect.Provider != "" && !slices.Contains(signed.Signer.EmailAddresses, v.expect.Provider) {
		faults = append(faults, fmt.Errorf("it is signed by %v and not by %s", signed.Signer.EmailAddresses, v.expect.Provider))
	}
	at, fault := v.checkStamp(s, signature, &seen)
	if fault != nil {
		faults = append(faults, fault)
	}
	if !at.IsZero() && at.Add(stampTolerance).Before(s.Closed) {
		faults = append(faults, fmt.Errorf("its time-stamp is of %s, before the seal was made", at.Format(time.RFC3339)))
	}
	if at.IsZero() {
		at = s.Closed
	}
	if v.expect.Roots != nil {
		seen.Chains = "trusted"
		if err := signed.VerifyChain(v.expect.Roots, at); err != nil {
			seen.Chains = "untrusted"
			faults = append(faults, fmt.Errorf("the certificate %s: %w", seen.Signer, err))
		}
	}
	return seen, faults
}

// stampTolerance is how far the clocks of engine and authority may be apart: each is held to a second of UTC.
const stampTolerance = 5 * time.Second

// checkStamp checks a seal's time-stamp and returns its time, zero if it has none.
func (v *verification) checkStamp(s Seal, signature []byte, seen *SealSeen) (time.Time, error) {
	answer, err := os.ReadFile(sealPath(v.dir, s.Day, stampSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		v.report.Notes = append(v.report.Notes, "the seal of "+s.Day+" has no time-stamp")
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	stamp, err := readStamp(answer, signature)
	if err != nil {
		return time.Time{}, fmt.Errorf("its time-stamp does not hold: %w", err)
	}
	seen.Stamped, seen.By = stamp.time, stamp.signer.Subject.String()
	if v.expect.Roots != nil {
		err = stamp.verifyChain(v.expect.Roots)
	}
	return stamp.time, err
}

// checkRecorded compares the seals with what the log says of them.
func (v *verification) checkRecorded() {
	for day, data := range v.sealed {
		v.compare(day, sealSuffix, data.Seal)
		v.compare(day, signatureSuffix, data.Signature)
	}
	for day, data := range v.stamped {
		v.compare(day, stampSuffix, data.Stamp)
	}
	slices.Sort(v.report.Faults)
	slices.Sort(v.report.Notes)
}

func (v *verification) compare(day, suffix, digest string) {
	raw, err := os.ReadFile(sealPath(v.dir, day, suffix))
	switch {
	case errors.Is(err, fs.ErrNotExist) && isMirror(v.dir):
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%s%s has not come here yet: it is at the site whose log this is a mirror of", day, suffix))
	case err != nil:
		v.fault(fmt.Sprintf("%s%s: the log has it, and it is not there", day, suffix))
	case hexDigest(raw) != digest:
		v.fault(fmt.Sprintf("%s%s: it is not the file that the log has", day, suffix))
	}
}

// checkHead compares the log with a head that was kept elsewhere.
func (v *verification) checkHead() {
	if v.expect.Records == 0 {
		return
	}
	switch head, there := v.heads[v.expect.Records]; {
	case !there && v.report.Records < v.expect.Records:
		v.fault(fmt.Sprintf("the log ends with record %d, the kept head is of record %d: records were cut off", v.report.Records, v.expect.Records))
	case !there:
		v.fault(fmt.Sprintf("record %d, of which a head was kept, is not there", v.expect.Records))
	case head != v.expect.Head:
		v.fault(fmt.Sprintf("record %d is not the one whose head was kept", v.expect.Records))
	}
}

// limit is the first day that must be kept.
func (v *verification) limit() string { return dayOf(v.expect.Now.AddDate(0, -keepMonths, 0)) }

// listRemovable lists the segments that end with a seal whose day is older than the time that the log must be kept: without them
// the log still opens and verifies.
func (v *verification) listRemovable() {
	for i := len(v.ends) - 1; i >= 0; i-- {
		old := slices.ContainsFunc(v.seals, func(s Seal) bool { return s.Last == v.ends[i].last && s.Day < v.limit() })
		if !old {
			continue
		}
		for _, end := range v.ends[:i+1] {
			v.report.Removable = append(v.report.Removable, filepath.Base(end.path))
		}
		return
	}
}
