package manager_test

import (
	"flag"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/pec-operator/pec-operator/internal/apitest"
)

// right is one verb on one resource that a file of the chart grants.
type right struct{ file, group, resource, verb string }

// streamed is why a kind that is cached may go unlisted.
const streamed = "a cache watches with the list streamed into it, and lists only where an API server cannot stream"

// unseen are the rights that this suite does not use, each with why the operator needs it all the same.
var unseen = map[right]string{
	{"cluster-rules.yaml", "pec-operator.dev", "mailboxmigrations", "list"}: streamed,
	{"cluster-rules.yaml", "pec-operator.dev", "retentionpolicies", "list"}: streamed,
	{"namespace-rules.yaml", "", "secrets", "list"}:                         streamed,
}

// unseenOfPeer is why a peer's rights may go unused: they are granted here and used by the other site's release.
const unseenOfPeer = "the sites are upgraded one after the other: the other's release may read what this one's does not"

// rightsOf are the rights of a file of the chart.
func rightsOf(t *testing.T, file string) []right {
	t.Helper()
	rules, err := apitest.Rules(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []right
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if slices.Contains([]string{group, resource, verb}, rbacv1.ResourceAll) {
						t.Errorf("%s: %s %s/%s is a wildcard", file, verb, group, resource)
					}
					out = append(out, right{file, group, resource, verb})
				}
			}
		}
	}
	return out
}

func TestTheChartGrantsNothingFar(t *testing.T) {
	for _, file := range []string{"cluster-rules.yaml", "peer-rules.yaml"} {
		for _, r := range rightsOf(t, file) {
			if r.group != "pec-operator.dev" && r.resource != "events" {
				t.Errorf("%s grants %s %s in every namespace", file, r.verb, r.resource)
			}
		}
	}
	for _, file := range []string{"cluster-rules.yaml", "namespace-rules.yaml", "cert-manager-rules.yaml", "own-rules.yaml", "peer-rules.yaml"} {
		for _, r := range rightsOf(t, file) {
			if strings.HasPrefix(r.verb, "delete") {
				t.Errorf("%s lets the operator delete %s", file, r.resource)
			}
			if r.group == "pec-operator.dev" && !strings.HasSuffix(r.resource, "/status") && !slices.Contains([]string{"get", "list", "watch"}, r.verb) {
				t.Errorf("%s lets the operator %s %s: it never writes what people write", file, r.verb, r.resource)
			}
		}
	}
}

// This file is the last of the package, so that the audit log has what all its tests had the operators do.
func TestTheChartGrantsWhatIsAskedAndNothingElse(t *testing.T) {
	apitest.Need(t, server)
	if flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		t.Skip("only the whole suite asks for everything")
	}
	used := map[right]bool{}
	for _, ask := range server.Asks(t) {
		if ask.Refused && server.Granted(ask.User, ask.Namespace) {
			t.Errorf("the operator lacks a right: %s", ask)
		}
		file := "namespace-rules.yaml"
		switch {
		case strings.HasPrefix(ask.User, "peer-"):
			file = "peer-rules.yaml"
		case ask.Group == "pec-operator.dev" || ask.Group == "events.k8s.io":
			file = "cluster-rules.yaml"
		case ask.Group == "cert-manager.io":
			file = "cert-manager-rules.yaml"
		case strings.TrimPrefix(ask.User, "operator-") == ask.Namespace:
			file = "own-rules.yaml"
		}
		if !ask.Refused {
			used[right{file, ask.Group, ask.Resource, ask.Verb}] = true
		}
	}
	for _, file := range []string{"cluster-rules.yaml", "namespace-rules.yaml", "cert-manager-rules.yaml", "own-rules.yaml", "peer-rules.yaml"} {
		for _, r := range rightsOf(t, file) {
			why, listed := unseen[r]
			if file == "peer-rules.yaml" {
				why = unseenOfPeer
			}
			switch {
			case used[r] && listed:
				t.Errorf("%v is used: take it from the list of unseen rights", r)
			case !used[r] && why == "":
				t.Errorf("%v is granted and never asked for: take it from the chart, or say in unseen why it is needed", r)
			}
			delete(used, r)
		}
	}
	for r := range used {
		t.Errorf("%v was asked for and comes from no rule of the chart", r)
	}
}
