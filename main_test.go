package main

import (
	"errors"
	"fmt"
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
