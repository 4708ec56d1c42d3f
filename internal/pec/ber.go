package pec

import (
	"bytes"
	"encoding/asn1"
	"errors"
)

// Bounds of a received CMS structure. Real ones hold two certificates and take 5 KB.
const (
	maxCMSBytes   = 256 << 10
	maxCMSNesting = 32
)

var errBER = errors.New("the CMS structure is not bounded, well-formed BER")

// toDER rewrites BER in DER as far as CMS needs it: definite lengths, and octet strings in one piece. Some real providers send
// indefinite lengths, which encoding/asn1 does not read. The library that verifies converts too, but without a bound on the
// nesting: sixteen kilobytes of nested headers are harmless, a megabyte would end the process.
func toDER(ber []byte) ([]byte, error) {
	if len(ber) > maxCMSBytes {
		return nil, errBER
	}
	if rest, ok := isDER(ber, 0); ok && len(rest) == 0 {
		return ber, nil // as most send it
	}
	der, rest, err := derElement(ber, 0)
	if err == nil && len(rest) > 0 {
		err = errBER
	}
	return der, err
}

// isDER says that the first element of ber needs no conversion, and returns what follows it.
func isDER(ber []byte, depth int) (rest []byte, ok bool) {
	tag, indefinite, body, rest, err := berHeader(ber)
	if err != nil || indefinite || depth > maxCMSNesting || tag == 0x20|asn1.TagOctetString || !bytes.HasPrefix(ber, appendHeader(make([]byte, 0, 6), tag, len(body))) {
		return nil, false
	}
	for tag&0x20 != 0 && len(body) > 0 {
		if body, ok = isDER(body, depth+1); !ok {
			return nil, false
		}
	}
	return rest, true
}

// derElement converts the first element of ber, and returns what follows it.
func derElement(ber []byte, depth int) (der, rest []byte, err error) {
	tag, indefinite, body, rest, err := berHeader(ber)
	if err != nil || depth > maxCMSNesting {
		return nil, nil, errBER
	}
	if tag&0x20 == 0 {
		return wrap(tag, body), rest, nil
	}
	var children []byte
	for indefinite || len(body) > 0 {
		if indefinite && len(body) >= 2 && body[0] == 0 && body[1] == 0 {
			rest = body[2:]
			break
		}
		var child []byte
		if child, body, err = derElement(body, depth+1); err != nil {
			return nil, nil, err
		}
		children = append(children, child...)
	}
	if tag == 0x20|asn1.TagOctetString {
		joined, err := joinOctets(children)
		return wrap(asn1.TagOctetString, joined), rest, err
	}
	return wrap(tag, children), rest, nil
}

// berHeader reads tag and length. The body of an element of indefinite length is all that follows.
func berHeader(ber []byte) (tag byte, indefinite bool, body, rest []byte, err error) {
	if len(ber) < 2 || ber[0]&0x1f == 0x1f { // CMS has no tag above 30
		return 0, false, nil, nil, errBER
	}
	tag, length, body := ber[0], int(ber[1]), ber[2:]
	if length == 0x80 {
		if tag&0x20 == 0 {
			return 0, false, nil, nil, errBER
		}
		return tag, true, body, nil, nil
	}
	if length > 0x80 {
		n := length & 0x7f
		if n > 4 || n > len(body) {
			return 0, false, nil, nil, errBER
		}
		length = 0
		for _, b := range body[:n] {
			length = length<<8 | int(b)
		}
		body = body[n:]
	}
	if length > len(body) {
		return 0, false, nil, nil, errBER
	}
	return tag, false, body[:length], body[length:], nil
}

// joinOctets joins the pieces of a constructed octet string, already in DER.
func joinOctets(pieces []byte) (joined []byte, err error) {
	for len(pieces) > 0 {
		var piece asn1.RawValue
		if pieces, err = asn1.Unmarshal(pieces, &piece); err != nil || piece.Tag != asn1.TagOctetString {
			return nil, errBER
		}
		joined = append(joined, piece.Bytes...)
	}
	return joined, nil
}

// wrap is an element with all contents in it, one behind the other.
func wrap(tag byte, contents ...[]byte) []byte {
	n := 0
	for _, c := range contents {
		n += len(c)
	}
	out := appendHeader(make([]byte, 0, n+6), tag, n)
	for _, c := range contents {
		out = append(out, c...)
	}
	return out
}

// appendHeader adds tag and length as DER writes them.
func appendHeader(out []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(out, tag, byte(n))
	case n < 1<<8:
		return append(out, tag, 0x81, byte(n))
	case n < 1<<16:
		return append(out, tag, 0x82, byte(n>>8), byte(n))
	case n < 1<<24:
		return append(out, tag, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, tag, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
