package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	packageSuffix = ".tar"
	sealSuffix    = ".tar.sha256"
	dayLayout     = "20060102"
)

// folderOf is where the packages of a mailbox lie: domain, then local part, so that a body's archive is one folder.
func folderOf(address string) (string, error) {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(address, "/\\\x00") || strings.Contains(address, "..") {
		return "", fmt.Errorf("%q is not the address of a mailbox", address)
	}
	return path.Join(domain, local), nil
}

// nameOf is the name of a package: the day of its run, and the selection. A run that is repeated makes the same name.
func nameOf(p Package, day time.Time) (string, error) {
	folder, err := folderOf(p.Mailbox)
	if err != nil {
		return "", err
	}
	return path.Join(folder, day.UTC().Format(dayLayout)+"-"+p.Digest()[:16]+packageSuffix), nil
}

func dayOf(name string) (time.Time, error) {
	day, _, _ := strings.Cut(path.Base(name), "-")
	at, err := time.Parse(dayLayout, day)
	if err != nil {
		return at, fmt.Errorf("%s: not the name of a package", name)
	}
	return at, nil
}

// Catalogue answers what the sealed packages of a mailbox hold. A package that a dead run left without its seal is read whole and
// sealed first; one that is not as it was written ends it with ErrCorrupt, for a person must look.
func Catalogue(ctx context.Context, place Place, address string) ([]Archived, error) {
	return catalogue(ctx, place, address, func(name string) error {
		_, err := seal(ctx, place, name)
		return err
	})
}

// catalogue is Catalogue, with what is done about a package without a seal; without anything to do it is left out.
func catalogue(ctx context.Context, place Place, address string, unsealed func(name string) error) ([]Archived, error) {
	folder, err := folderOf(address)
	if err != nil {
		return nil, err
	}
	names, err := place.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	sealed := map[string]bool{}
	for _, name := range names {
		sealed[name] = true
	}
	var archived []Archived
	for _, name := range names {
		if !strings.HasSuffix(name, packageSuffix) {
			continue
		}
		if !sealed[strings.TrimSuffix(name, packageSuffix)+sealSuffix] {
			if unsealed == nil {
				continue
			}
			if err := unsealed(name); err != nil {
				return nil, err
			}
		}
		day, err := dayOf(name)
		if err != nil {
			return nil, err
		}
		p, err := readHead(ctx, place, name)
		if err != nil {
			return nil, err
		}
		for _, m := range p.Messages {
			archived = append(archived, Archived{Message: m, Day: day, Package: name})
		}
	}
	return archived, nil
}

func readHead(ctx context.Context, place Place, name string) (Package, error) {
	r, err := place.Open(ctx, name)
	if err != nil {
		return Package{}, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	p, err := ReadIndex(r)
	if err != nil {
		return p, fmt.Errorf("reading the index of %s: %w", name, err)
	}
	if !strings.Contains(path.Base(name), p.Digest()[:16]) {
		return p, fmt.Errorf("reading the index of %s: %w", name, corrupt("its name is another selection's"))
	}
	return p, nil
}

// seal reads a package back, whole, and then writes its SHA-256 beside it, as sha256sum reads it.
func seal(ctx context.Context, place Place, name string) (sum string, err error) {
	r, err := place.Open(ctx, name)
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // it was only read
	found, err := Verify(r)
	if err != nil {
		return "", fmt.Errorf("reading back %s: %w", name, err)
	}
	line := found.SHA256 + "  " + path.Base(name) + "\n"
	err = place.Create(ctx, strings.TrimSuffix(name, packageSuffix)+sealSuffix, int64(len(line)), func(w io.Writer) error {
		_, err := io.WriteString(w, line)
		return err
	})
	if err != nil && (!errors.Is(err, fs.ErrExist) || errors.Is(err, errNotLocked)) {
		return "", err
	}
	return found.SHA256, nil
}
