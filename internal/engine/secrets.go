package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// compared is what a site found when it compared its Secret with the other site's: a word, and nothing that a password could be guessed by.
type compared struct {
	Address string    `json:"address"`
	Pair    string    `json:"pair"`
	Site    string    `json:"site"`
	Same    bool      `json:"same"`
	At      time.Time `json:"at"`
}

func (e *Engine) noteCompared(address string, found admin.Compared) error {
	c := compared{Address: fold(address), Pair: found.Pair, Site: e.settings.Site, Same: found.Same, At: e.now().UTC()}
	_, err := e.record(kindCompared, strings.Join([]string{c.Address, c.Pair, c.Site}, " "), "", &c)
	if err == nil {
		e.holders.addCompared(c)
	}
	return err
}

// addCompared adds what a site found; of two the later counts.
func (h *holders) addCompared(c compared) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := h.verdicts[c.Address]
	if mine == nil {
		mine = map[string]compared{}
		h.verdicts[c.Address] = mine
	}
	if last, ok := mine[c.Site]; !ok || c.At.After(last.At) {
		mine[c.Site] = c
	}
}

// secretsOf is how this site's Secret stands to the other's, as far as the logs of both say.
func (h *holders) secretsOf(address, site string) admin.Secrets {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := siteSecret{site: site, placement: h.secrets[address][site]}
	var other siteSecret
	for name, p := range h.secrets[address] {
		if name != site && p.At.After(other.At) {
			other = siteSecret{site: name, placement: p}
		}
	}
	if own.At.IsZero() || other.At.IsZero() {
		return admin.Secrets{}
	}
	return judgeSecrets(own, other, h.verdicts[address])
}

// siteSecret is a Secret's password that a site was given.
type siteSecret struct {
	site string
	placement
}

// judgeSecrets says what is known of two. Equal hashes were given ready made. Of others the site that was given its own later is asked first,
// so that one slow check tells both; the other is asked when that one denies it, which it also does when it was given a ready hash, and cannot
// know the password. Whoever finds them equal is right. Pure.
func judgeSecrets(own, other siteSecret, found map[string]compared) admin.Secrets {
	s := admin.Secrets{Pair: pairOf(own, other)}
	mine, theirs := found[own.site], found[other.site]
	isMine, isTheirs := mine.Pair == s.Pair, theirs.Pair == s.Pair
	switch {
	case own.Password == other.Password, isMine && mine.Same, isTheirs && theirs.Same:
		return admin.Secrets{}
	case isMine:
		s.DifferSince = mine.At
	case isTheirs, own.At.After(other.At), own.At.Equal(other.At) && own.site > other.site:
		s.Theirs = other.Password
	default:
		return admin.Secrets{}
	}
	return s
}

// pairOf is the same for both sites, and another once either is given another Secret. Pure.
func pairOf(own, other siteSecret) string {
	if own.site > other.site {
		own, other = other, own
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s %s\n", own.site, own.Version, other.site, other.Version))
	return hex.EncodeToString(sum[:8])
}
