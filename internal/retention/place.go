package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pec-operator/pec-operator/internal/durable"
)

// Place is where packages are kept. A name is put once; nothing is changed, nothing is removed.
type Place interface {
	// Create puts what write writes, exactly size bytes, under a name that is not taken; fs.ErrExist if it is. It is durable when
	// this returns, and not there at all if it fails.
	Create(ctx context.Context, name string, size int64, write func(io.Writer) error) error
	// Open reads a name from its beginning; fs.ErrNotExist if there is none.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List answers the names in a folder, sorted.
	List(ctx context.Context, folder string) ([]string, error)
}

// Directory is a place on a volume.
type Directory string

// partial marks what is being written. Only one run writes for a mailbox at a time, so an old one is a dead run's.
const partial = ".partial"

// Create implements Place.
func (d Directory) Create(_ context.Context, name string, size int64, write func(io.Writer) error) (err error) {
	target := filepath.Join(string(d), filepath.FromSlash(name))
	defer func() {
		if err != nil {
			err = fmt.Errorf("creating %s: %w", name, err)
		}
	}()
	if _, err := os.Lstat(target); err == nil {
		return fs.ErrExist
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(target+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o440)
	if err != nil {
		return err
	}
	defer os.Remove(target + partial) //nolint:errcheck // gone, or a later run overwrites it
	err = errors.Join(write(file), file.Sync())
	if info, statErr := file.Stat(); err == nil && statErr == nil && info.Size() != size {
		err = fmt.Errorf("%d bytes were announced and %d came", size, info.Size())
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what is there.
	if err := os.Link(target+partial, target); err != nil {
		return err
	}
	return syncDirs(string(d), filepath.Dir(target))
}

// syncDirs makes a new name, and the folders above it up to the place's own, survive a loss of power.
func syncDirs(top, dir string) error {
	for {
		if err := durable.Dir(dir); err != nil {
			return err
		}
		if dir == filepath.Clean(top) || dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// Open implements Place.
func (d Directory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return f, nil
}

// List implements Place.
func (d Directory) List(_ context.Context, folder string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(d), filepath.FromSlash(folder)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", folder, err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), partial) {
			names = append(names, path.Join(folder, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}
