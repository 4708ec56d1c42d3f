package dns

import (
	"fmt"
	"strconv"
	"strings"
)

// Owner is who keeps a domain's MX set. The zero Owner claims nothing, as VerifyOnly does.
type Owner struct {
	// Operator is the identity of the set of clusters, the same at both sites.
	Operator string
	// Object is the namespace and name of the resource that wants the set.
	Object string
	// Epoch fences the two sites: the higher one wins, for ever.
	Epoch uint64
}

// OwnerName is where the owner TXT of a domain stands: not at the MX name itself, where SPF texts live.
func OwnerName(domain string) string { return "_pec-owner." + Name(domain) }

// Text is the owner TXT for a set.
func (o Owner) Text(set Set) string {
	return fmt.Sprintf("v=1;op=%s;%s;epoch=%d;h=%s", o.Operator, o.Object, o.Epoch, set.Hash())
}

// parseOwner reads an owner TXT; ok is false for any text that [Owner.Text] does not write.
func parseOwner(text string) (owner Owner, hash string, ok bool) {
	fields := strings.Split(text, ";")
	if len(fields) != 5 || fields[0] != "v=1" {
		return Owner{}, "", false
	}
	operator, isOperator := strings.CutPrefix(fields[1], "op=")
	epoch, isEpoch := strings.CutPrefix(fields[3], "epoch=")
	hash, isHash := strings.CutPrefix(fields[4], "h=")
	number, err := strconv.ParseUint(epoch, 10, 64)
	if !isOperator || !isEpoch || !isHash || err != nil {
		return Owner{}, "", false
	}
	return Owner{Operator: operator, Object: fields[2], Epoch: number}, hash, true
}

// same says that two owners are one, whatever their epochs.
func (o Owner) same(other Owner) bool {
	return o.Operator == other.Operator && o.Object == other.Object
}

// EpochIn is the epoch that an owner text gives to this owner; zero for a text of anybody else.
func (o Owner) EpochIn(text string) uint64 {
	read, _, ok := parseOwner(text)
	if !ok || !read.same(o) {
		return 0
	}
	return read.Epoch
}
