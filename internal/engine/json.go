package engine

import (
	"encoding/json"
	"errors"
	"io"
)

// decodeStrict reads one JSON value and nothing else. A field that this engine does not know, misspelt or of a later release, would silently
// mean nothing.
func decodeStrict[T any](r io.Reader) (v T, err error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&v)
	if err == nil && decoder.Decode(new(any)) != io.EOF {
		err = errors.New("more than one value")
	}
	return v, err
}
