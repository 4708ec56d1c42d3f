package evidence

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// The directories below an engine's state: its own log, and one for each log that it mirrors, named after it.
const (
	OwnDir     = "evidence"
	MirrorsDir = "mirror"
)

// siteFile names the site whose engine writes the log in a directory; a mirror's directory is named after both.
const siteFile = "site"

var nameForm = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,62})-[0-9a-f]{16}(@[0-9]{1,19}-[0-9a-f]{16})?$`)

// SiteOf is the site whose engine wrote the log of this name, "" if the name is none.
func SiteOf(name string) string {
	if m := nameForm.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}

// Source is a log to be read.
type Source struct {
	Dir  string
	Name string // of the log among all that ever were; the directory's where nothing tells
	Site string // that wrote it, "" where nothing tells
}

// Sources are the logs in dir: the one that lies there, or, if it is an engine's state, its own and those that it mirrors.
func Sources(dir string) ([]Source, error) {
	if holdsLog(dir) {
		return []Source{sourceOf(dir)}, nil
	}
	if own := filepath.Join(dir, OwnDir); holdsLog(own) {
		list := []Source{sourceOf(own)}
		mirrors, err := filepath.Glob(filepath.Join(dir, MirrorsDir, "*"))
		if err != nil {
			return nil, fmt.Errorf("listing the mirrors: %w", err)
		}
		for _, path := range mirrors {
			if SiteOf(filepath.Base(path)) != "" && holdsLog(path) {
				list = append(list, sourceOf(path))
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("reading evidence log: %s holds no segment (*%s): give the directory of a log, or the one that holds %s/ and %s/", dir, segmentSuffix, OwnDir, MirrorsDir)
}

func holdsLog(dir string) bool {
	paths, err := segmentPaths(dir)
	return err == nil && len(paths) > 0
}

func sourceOf(dir string) Source {
	name := filepath.Base(dir)
	if absolute, err := filepath.Abs(dir); err == nil {
		name = filepath.Base(absolute)
	}
	if site := SiteOf(name); site != "" {
		return Source{dir, name, site}
	}
	site := readWord(dir, siteFile)
	if own := site + "-" + readWord(dir, identityFile); SiteOf(own) == site && site != "" {
		return Source{dir, own, site}
	}
	if seals, _ := readSeals(dir); site == "" && len(seals) > 0 {
		site = seals[len(seals)-1].Site
	}
	return Source{dir, name, site}
}

func readWord(dir, name string) string {
	raw, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(raw))
}
