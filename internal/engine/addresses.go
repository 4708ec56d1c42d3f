package engine

import "strings"

// fold is the one form of an address in keys and records.
func fold(address string) string { return strings.ToLower(address) }

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
