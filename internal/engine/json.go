package engine

import (
	"encoding/json"
	"errors"
	"io"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// decodeStrict reads one JSON value and nothing else. A field that this engine does not know, misspelt or of a later release, would silently
// mean nothing. Text that is not UTF-8 is refused: the decoder puts another character for what it cannot read, and a password in Latin-1
// would be stored as one that nobody chose.
func decodeStrict[T any](r io.Reader) (v T, err error) {
	decoder := json.NewDecoder(transform.NewReader(r, encoding.UTF8Validator))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&v)
	if err == nil && decoder.Decode(new(any)) != io.EOF {
		err = errors.New("more than one value")
	}
	if errors.Is(err, encoding.ErrInvalidUTF8) {
		err = errors.New("it is not UTF-8; send it as charset=utf-8")
	}
	return v, err
}
