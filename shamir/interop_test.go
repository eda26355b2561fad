package shamir

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// hexBytes is bytes that JSON shows in hexadecimal.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) {
	return []byte(hex.EncodeToString(b)), nil
}

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// peerSplit asks the peer for n shares, k of which suffice.
type peerSplit struct {
	Secret hexBytes `json:"secret"`
	K      int      `json:"k"`
	N      int      `json:"n"`
}

// peer runs the npm package shamir-secret-sharing once: it combines each list
// of shares and makes each split.
func peer(t *testing.T, combine [][]hexBytes, split []peerSplit) (secrets []hexBytes, shares [][]hexBytes) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node.js is not installed; install it and run `make test`")
	}
	peers := filepath.Join("..", "testdata", "peers")
	if _, err := os.Stat(filepath.Join(peers, "node_modules", "shamir-secret-sharing")); err != nil {
		t.Fatal("npm package shamir-secret-sharing is not installed; run `make test`")
	}
	request, err := json.Marshal(map[string]any{"combine": combine, "split": split})
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	command := exec.Command(node, filepath.Join(peers, "shamir.mjs"))
	command.Stdin = bytes.NewReader(request)
	command.Stderr = &complaint
	output, err := command.Output()
	if err != nil {
		t.Fatalf("peer: %v\n%s", err, complaint.Bytes())
	}
	var answer struct {
		Secrets []hexBytes   `json:"secrets"`
		Shares  [][]hexBytes `json:"shares"`
	}
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Secrets) != len(combine) || len(answer.Shares) != len(split) {
		t.Fatalf("peer answered %d of %d and %d of %d", len(answer.Secrets), len(combine), len(answer.Shares), len(split))
	}
	return answer.Secrets, answer.Shares
}

// ends returns the first k shares and the last k.
func ends[S ~[]E, E any](shares S, k int) []S {
	return []S{shares[:k], shares[len(shares)-k:]}
}

func TestInteropNode(t *testing.T) {
	sizes := []struct{ k, n, length int }{
		{2, 2, 1}, {2, 3, 32}, {3, 3, 64}, {3, 5, 33}, {5, 16, 7}, {16, 16, 8}, {2, 255, 9}, {128, 255, 3}, {255, 255, 2},
	}
	var ours [][]hexBytes
	var want []hexBytes
	var splits []peerSplit
	for _, size := range sizes {
		secret := make([]byte, size.length)
		rand.Read(secret)
		shares, err := Split(rand.Reader, secret, size.k, size.n)
		if err != nil {
			t.Fatal(err)
		}
		var list []hexBytes
		for _, share := range shares {
			list = append(list, share)
		}
		for _, quorum := range ends(list, size.k) {
			ours, want = append(ours, quorum), append(want, secret)
		}
		splits = append(splits, peerSplit{secret, size.k, size.n})
	}

	secrets, theirs := peer(t, ours, splits)
	for i, secret := range secrets {
		if !bytes.Equal(secret, want[i]) {
			t.Errorf("peer combined our %d shares to %x, want %x", len(ours[i]), []byte(secret), []byte(want[i]))
		}
	}
	for i, list := range theirs {
		if len(list) != splits[i].N {
			t.Fatalf("peer made %d shares, want %d", len(list), splits[i].N)
		}
		var shares [][]byte
		for _, share := range list {
			shares = append(shares, share)
		}
		for _, quorum := range append(ends(shares, splits[i].K), shares) {
			got, err := Combine(quorum)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, splits[i].Secret) {
				t.Errorf("%d of the peer's shares gave %x, want %x", len(quorum), got, []byte(splits[i].Secret))
			}
		}
	}
}
