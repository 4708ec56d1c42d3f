package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/exit"
)

func TestStatus(t *testing.T) {
	for sentence, c := range map[string]struct {
		err  error
		want int
	}{
		"any error":                   {errors.New("x"), 1},
		"an error that chooses":       {&exit.Error{Status: 2, Err: errors.New("x")}, 2},
		"one that is wrapped in more": {fmt.Errorf("y: %w", &exit.Error{Status: 2, Err: errors.New("x")}), 2},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := status(c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// Whoever asks for help gets it, and no error after it.
func TestHelp(t *testing.T) {
	asks := [][]string{{"--help"}, {"help"}, {"index", "record", "--help"}, {"engine", "run", "-h"}, {"retain", "list", "--help"}, {"evidence", "verify", "--help"}}
	for _, role := range regexp.MustCompile(`(?m)^  (\w+)  `).FindAllStringSubmatch(usage, -1) {
		asks = append(asks, []string{role[1], "--help"})
	}
	if len(asks) != 13 {
		t.Fatalf("%d asks: the usage lists other roles than seven", len(asks))
	}
	for _, ask := range asks {
		t.Run(strings.Join(ask, " "), func(t *testing.T) {
			stderr := os.Stderr
			defer func() { os.Stderr = stderr }()
			var err error
			if os.Stderr, err = os.Create(filepath.Join(t.TempDir(), "stderr")); err != nil {
				t.Fatal(err)
			}
			if err := run(t.Context(), ask[0], ask[1:]); err != nil {
				t.Errorf("after the help: %v", err)
			}
			said, err := os.ReadFile(os.Stderr.Name())
			if err != nil || !strings.HasPrefix(strings.ToLower(string(said)), "usage") {
				t.Errorf("it said %q, %v", said, err)
			}
		})
	}
}
