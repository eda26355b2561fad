package bip32_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"zeropass.dev/zeropass/bip32"
)

// vectorFile is testdata/bip32_vectors.json.
type vectorFile struct {
	Valid []struct {
		Seed  string
		Chain []struct{ Path, Xpub, Xprv string }
	}
	Invalid []struct{ Key, Reason string }
}

func readVectors(t testing.TB) vectorFile {
	t.Helper()
	b, err := os.ReadFile("testdata/bip32_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectorFile
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// parsePath reads the vectors' notation, m/0'/1.
func parsePath(t *testing.T, s string) []uint32 {
	t.Helper()
	steps := strings.Split(s, "/")
	if steps[0] != "m" {
		t.Fatalf("path %q does not start at m", s)
	}
	var path []uint32
	for _, step := range steps[1:] {
		digits, hardened := strings.CutSuffix(step, "'")
		i, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			t.Fatal(err)
		}
		index := uint32(i)
		if hardened {
			index += bip32.Hardened
		}
		path = append(path, index)
	}
	return path
}

func TestVectors(t *testing.T) {
	nodes := 0
	for _, chain := range readVectors(t).Valid {
		seed, err := hex.DecodeString(chain.Seed)
		if err != nil {
			t.Fatal(err)
		}
		master, err := bip32.NewBitcoinMaster(seed)
		if err != nil {
			t.Fatal(err)
		}
		var parent *bip32.PrivateKey
		for _, node := range chain.Chain {
			nodes++
			path := parsePath(t, node.Path)
			k, err := master.Derive(path...)
			if err != nil {
				t.Fatalf("%s: %v", node.Path, err)
			}
			if got := k.Encode(); got != node.Xprv {
				t.Errorf("%s: xprv\n got %s\nwant %s", node.Path, got, node.Xprv)
			}
			if got := k.Public().Encode(); got != node.Xpub {
				t.Errorf("%s: xpub\n got %s\nwant %s", node.Path, got, node.Xpub)
			}
			checkParsed(t, k, node.Xprv, node.Xpub)

			if len(path) > 0 && path[len(path)-1] < bip32.Hardened {
				public, err := parent.Public().Child(path[len(path)-1])
				if err != nil {
					t.Fatalf("%s: %v", node.Path, err)
				}
				if got := public.Encode(); got != node.Xpub {
					t.Errorf("%s: xpub from the parent's\n got %s\nwant %s", node.Path, got, node.Xpub)
				}
			}
			if want := len(path); int(k.Depth()) != want || int(k.Public().Depth()) != want {
				t.Errorf("%s: depth %d, %d", node.Path, k.Depth(), k.Public().Depth())
			}
			if len(path) > 0 && k.ChildNumber() != path[len(path)-1] {
				t.Errorf("%s: child number %d", node.Path, k.ChildNumber())
			}
			parent = k
		}
	}
	if nodes != 17 {
		t.Errorf("%d nodes in the vectors, want 17", nodes)
	}
}

// checkParsed parses both strings and compares everything with k.
func checkParsed(t *testing.T, k *bip32.PrivateKey, xprv, xpub string) {
	t.Helper()
	private, err := bip32.ParsePrivate(xprv)
	if err != nil {
		t.Fatal(err)
	}
	public, err := bip32.ParsePublic(xpub)
	if err != nil {
		t.Fatal(err)
	}
	serialized, err := bip32.ParseSerializedPublic(public.Serialize())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(private.Bytes(), k.Bytes()) || !bytes.Equal(private.ChainCode(), k.ChainCode()) ||
		private.Depth() != k.Depth() || private.ChildNumber() != k.ChildNumber() ||
		private.ParentFingerprint() != k.ParentFingerprint() || private.Encode() != xprv {
		t.Errorf("%s parses to another key", xprv)
	}
	want := k.Public()
	if !public.Equal(want) || !serialized.Equal(want) || !private.Public().Equal(want) || public.Encode() != xpub ||
		!bytes.Equal(public.Bytes(), want.Bytes()) || !bytes.Equal(public.ChainCode(), want.ChainCode()) {
		t.Errorf("%s parses to another key", xpub)
	}
}

func TestInvalidVectors(t *testing.T) {
	private := func(s string) (any, error) {
		k, err := bip32.ParsePrivate(s)
		return k, nilOnError(t, k == nil, err)
	}
	public := func(s string) (any, error) {
		k, err := bip32.ParsePublic(s)
		return k, nilOnError(t, k == nil, err)
	}
	type parser = func(string) (any, error)
	both := []parser{private, public}
	// The reasons of the vectors; parse is by whom the key must be refused
	// for that reason. The other parser refuses it for some reason.
	reasons := map[string]struct {
		parse []parser
		err   error
		text  string
	}{
		"pubkey version / prvkey mismatch":            {[]parser{public}, bip32.ErrMismatch, "public version, private key"},
		"prvkey version / pubkey mismatch":            {[]parser{private}, bip32.ErrMismatch, "private version, public key"},
		"invalid pubkey prefix 04":                    {[]parser{public}, bip32.ErrPrefix, "of a public key"},
		"invalid prvkey prefix 04":                    {[]parser{private}, bip32.ErrPrefix, "of a private key"},
		"invalid pubkey prefix 01":                    {[]parser{public}, bip32.ErrPrefix, "of a public key"},
		"invalid prvkey prefix 01":                    {[]parser{private}, bip32.ErrPrefix, "of a private key"},
		"zero depth with non-zero parent fingerprint": {nil, bip32.ErrDepthZero, "parent fingerprint"},
		"zero depth with non-zero index":              {nil, bip32.ErrDepthZero, "child number"},
		"unknown extended key version":                {both, bip32.ErrVersion, "neither xprv nor xpub"},
		"private key 0 not in 1..n-1":                 {[]parser{private}, bip32.ErrInvalidKey, "private key is 0"},
		"private key n not in 1..n-1":                 {[]parser{private}, bip32.ErrInvalidKey, "not below the order"},
		"invalid pubkey 020000000000000000000000000000000000000000000000000000000000000007": {
			[]parser{public}, bip32.ErrInvalidKey, "not a point of the curve"},
		"invalid checksum": {both, bip32.ErrChecksum, ""},
	}
	seen := make(map[string]bool)
	invalid := readVectors(t).Invalid
	for _, v := range invalid {
		want, ok := reasons[v.Reason]
		if !ok {
			t.Errorf("unknown reason %q", v.Reason)
			continue
		}
		seen[v.Reason] = true
		for _, parse := range both {
			if _, err := parse(v.Key); err == nil {
				t.Errorf("%s: accepted, but: %s", v.Key, v.Reason)
			}
		}
		parsers := want.parse
		if parsers == nil { // a reason of both kinds of key
			parsers = []parser{private}
			if strings.HasPrefix(v.Key, "xpub") {
				parsers = []parser{public}
			}
		}
		for _, parse := range parsers {
			if _, err := parse(v.Key); !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%s: got %v, want %v … %s", v.Key, err, want.err, want.text)
			}
		}
	}
	if len(invalid) != 16 {
		t.Errorf("%d invalid keys in the vectors, want 16", len(invalid))
	}
	if len(seen) != len(reasons) {
		t.Errorf("the vectors have %d of the %d reasons", len(seen), len(reasons))
	}
}

// nilOnError passes err on and fails the test unless the result is nil exactly
// if there is an error.
func nilOnError(t *testing.T, isNil bool, err error) error {
	t.Helper()
	if isNil != (err != nil) {
		t.Errorf("result nil: %v, error: %v", isNil, err)
	}
	return err
}
