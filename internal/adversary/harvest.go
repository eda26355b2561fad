package adversary

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"zeropass.dev/zeropass/slip39"
)

// take takes bytes as they were found: a file, or a value of a database.
func (k *knowledge) take(b []byte, around scope) {
	k.text(b)
	k.harvest(b, around, false)
	k.harvestText(b, false)
}

// opened takes a plaintext.
func (k *knowledge) opened(b []byte, around scope) {
	if hash := sha256.Sum256(b); !k.plaintexts[hash] {
		k.plaintexts[hash] = true
		k.changes++
	}
	k.text(b)
	k.harvest(b, around, true)
	if record, ok := unpadded(b); ok {
		k.harvest(record, around, true)
	}
	k.harvestText(b, true)
}

// takeFile takes a file of a home. Framed files are taken frame by frame.
func (k *knowledge) takeFile(path string, b []byte) {
	around := scope{path: path}
	k.take(b, around)
	_, rest, framed := bytes.Cut(b, []byte("\n"))
	if !framed || !bytes.HasPrefix(b, []byte("zeropass/v1/")) {
		return
	}
	for len(rest) >= 8 {
		size := binary.BigEndian.Uint32(rest)
		if rest = rest[8:]; uint64(size) > uint64(len(rest)) {
			return
		}
		k.harvest(rest[:size], around, false)
		rest = rest[size:]
	}
}

// takeRow takes a row of a table, each value with the others around it.
func (k *knowledge) takeRow(row map[string]any) {
	around := k.rowScope(row)
	for _, value := range row {
		switch v := value.(type) {
		case []byte:
			k.take(v, around)
		case string:
			k.take([]byte(v), around)
		}
	}
}

// harvest takes a string apart.
func (k *knowledge) harvest(b []byte, around scope, opened bool) {
	if len(b) < 16 {
		return
	}
	fields, message := parse(b)
	if around.specific() || !message {
		k.addSealed(b, around)
	}
	hash := sha256.Sum256(b)
	if f, ok := k.strings[hash]; ok && (f.opened || !opened) {
		return
	}
	k.strings[hash] = &found{bytes.Clone(b), opened}
	k.changes++
	k.classify(b)
	if !message {
		return
	}
	k.recognize(b)
	var siblings [][32]byte
	for _, field := range fields {
		if len(field) == 32 {
			siblings = append(siblings, [32]byte(field))
		}
		// What is bound to the message's own place is the message, not its parts.
		k.harvest(field, scope{}, opened)
	}
	if len(siblings) > 1 {
		k.siblings[string(hash[:])] = siblings
	}
}

// classify takes a string for whatever its length allows.
func (k *knowledge) classify(b []byte) {
	switch len(b) {
	case 16, 32:
		k.addKey(b)
	case 33:
		if (b[0] == 2 || b[0] == 3) && !k.published[string(b)] {
			k.published[string(b)] = true
			k.changes++
		}
	case 42, 74:
		k.tryShare(b)
	case 64:
		if _, known := k.roots[string(b)]; !known {
			k.roots[string(b)] = rootOf(b)
		}
	}
}

func (k *knowledge) tryShare(b []byte) {
	if share, err := slip39.ParseBinary(b); err == nil {
		k.addShare(share)
	}
}

// parse returns the fields with bytes of a protobuf message of any type, and
// whether the string is one.
func parse(b []byte) (fields [][]byte, ok bool) {
	const maxField = 100
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || number > maxField {
			return nil, false
		}
		b = b[n:]
		switch kind {
		case protowire.BytesType:
			field, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil, false
			}
			fields, b = append(fields, field), b[n:]
		case protowire.VarintType:
			_, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return nil, false
			}
			b = b[n:]
		default: // no message of ours has another type
			return nil, false
		}
	}
	return fields, true
}

// unpadded returns a plaintext without the padding that secrets and metadata have.
func unpadded(b []byte) ([]byte, bool) {
	record := bytes.TrimRight(b, "\x00")
	if len(record) == 0 || record[len(record)-1] != 0x80 {
		return nil, false
	}
	return record[:len(record)-1], true
}

// harvestText finds what is written in letters in a string, and binary shares at
// any place of it.
func (k *knowledge) harvestText(b []byte, opened bool) {
	for _, token := range tokens(b) {
		for _, decoded := range decodings(token) {
			k.text(decoded)
			k.harvest(decoded, scope{}, opened)
		}
	}
	for _, share := range mnemonics(b) {
		k.addShare(share)
	}
	// Of a share of ours, identifier and checksum aside, the bits from the 17th on
	// are: exponent 0, a group below 4, 2 groups of 3 or 4 needed.
	const size = 74
	for i := 0; i+size <= len(b); i++ {
		if b[i+1]&1 == 1 && b[i+2] < 4 && (b[i+3] == 0x12 || b[i+3] == 0x13) {
			k.tryShare(b[i : i+size])
		}
	}
}

// tokens returns the runs of letters, digits and signs that may be hexadecimal or
// base64 of 16 bytes and more.
func tokens(b []byte) [][]byte {
	var list [][]byte
	start := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && isToken(b[i]) {
			continue
		}
		if i-start >= 22 {
			list = append(list, b[start:i])
		}
		start = i + 1
	}
	return list
}

func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}

func decodings(token []byte) [][]byte {
	var list [][]byte
	text := string(bytes.TrimRight(token, "="))
	if b, err := hex.DecodeString(text); err == nil {
		list = append(list, b)
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := encoding.DecodeString(text); err == nil {
			list = append(list, b)
		}
	}
	return list
}

// wordSet is SLIP-39's list of words.
var wordSet = func() map[string]bool {
	set := map[string]bool{}
	for i := range uint16(1024) {
		set[slip39.Word(i)] = true
	}
	return set
}()

// mnemonics returns the shares that are written in a text, in any case and with
// anything but letters between the words.
func mnemonics(b []byte) []*slip39.Share {
	const shortest = 20
	var shares []*slip39.Share
	var run []string
	end := func() {
		for _, size := range []int{shortest, 33, 59} {
			for i := 0; i+size <= len(run); i++ {
				if share, err := slip39.Parse(joined(run[i : i+size])); err == nil {
					shares = append(shares, share)
				}
			}
		}
		run = run[:0]
	}
	letters := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	for i := 0; i < len(b); {
		if !letters(b[i]) {
			i++
			continue
		}
		start := i
		for i < len(b) && letters(b[i]) {
			i++
		}
		if word := string(bytes.ToLower(b[start:i])); i-start <= 8 && wordSet[word] {
			run = append(run, word)
		} else {
			end()
		}
	}
	end()
	return shares
}

func joined(words []string) string {
	var b bytes.Buffer
	for _, word := range words {
		b.WriteString(word)
		b.WriteByte(' ')
	}
	return b.String()
}

// printable says whether a string is a text, and no ciphertext.
func printable(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}
