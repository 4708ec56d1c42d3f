package providers

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// checkEvery bounds how often the files are looked at: judging a message calls Get, and a hundred a second must not mean a
// hundred stats.
const checkEvery = time.Second

// File is an index on disk that is read again when it changes. A bad new file does not replace a good old one: a typo in the
// index must not turn all certified mail into ordinary mail.
type File struct {
	ldifPaths []string // the first one that is there counts
	rootsPath string
	now       func() time.Time

	mu      sync.Mutex
	checked time.Time
	stamps  [2]stamp
	index   *Index
	roots   *x509.CertPool
	err     error
}

// stamp is what changes when a file's content does. A ConfigMap volume swaps a symlink, and the new file may have the old
// one's size and time.
type stamp struct {
	target string
	size   int64
	time   time.Time
}

// NewFile names the files; the first [File.Get] reads them. Of several indexes the first one that is there counts: what was
// downloaded comes before what the stack was made with.
func NewFile(rootsPath string, now func() time.Time, ldifPaths ...string) *File {
	return &File{ldifPaths: ldifPaths, rootsPath: rootsPath, now: now}
}

func (f *File) ldifPath() string {
	for _, path := range f.ldifPaths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return f.ldifPaths[len(f.ldifPaths)-1]
}

// Get is the last good index with its roots, and the error of the last reading if that failed. Both may be there; index and
// roots are nil only as long as no reading succeeded.
func (f *File) Get() (*Index, *x509.CertPool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if !f.checked.IsZero() && now.Sub(f.checked) < checkEvery && !now.Before(f.checked) {
		return f.index, f.roots, f.err
	}
	f.checked = now
	ldifPath := f.ldifPath()
	stamps := [2]stamp{look(ldifPath), look(f.rootsPath)}
	// After a failure it is read again even if nothing changed: what failed may have been the disk.
	if stamps == f.stamps && f.err == nil && f.index != nil {
		return f.index, f.roots, nil
	}
	index, roots, err := Load(ldifPath, f.rootsPath)
	f.stamps, f.err = stamps, err
	if err == nil {
		f.index, f.roots = index, roots
	}
	return f.index, f.roots, f.err
}

// look is the zero stamp for a file that is not there; Load then says why.
func look(path string) stamp {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return stamp{}
	}
	info, err := os.Stat(target)
	if err != nil {
		return stamp{}
	}
	return stamp{target: target, size: info.Size(), time: info.ModTime()}
}
