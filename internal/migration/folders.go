package migration

import (
	"strings"

	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/store"
)

// targetName is the folder of our store for a folder of the source: levels are kept, INBOX is INBOX in any case of letters, and
// what our store's names cannot have becomes "_". taken are the names that other folders of the mailbox have; a name that two
// would share gets more of these. Pure.
func targetName(f imapx.Folder, taken map[string]bool) string {
	levels := make([]string, len(f.Levels))
	for i, level := range f.Levels {
		level = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || strings.ContainsRune("/*%~", r) {
				return '_'
			}
			return r
		}, level)
		if level == "" || strings.HasPrefix(level, "-") || level == "." || level == ".." {
			level = "_" + level
		}
		levels[i] = level
	}
	if strings.EqualFold(levels[0], "INBOX") {
		levels[0] = "INBOX"
	}
	if levels[0] == store.Expunged {
		levels[0] += "_"
	}
	name := strings.Join(levels, "/")
	for taken[name] {
		name += "_"
	}
	taken[name] = true
	return name
}
