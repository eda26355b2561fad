package hpke

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

type peerSeal struct {
	To        hexBytes `json:"to"`
	Ikm       hexBytes `json:"ikm"`
	Info      hexBytes `json:"info"`
	Aad       hexBytes `json:"aad"`
	Plaintext hexBytes `json:"plaintext"`
}

type peerOpen struct {
	Key    hexBytes `json:"key"`
	Info   hexBytes `json:"info"`
	Aad    hexBytes `json:"aad"`
	Sealed hexBytes `json:"sealed"`
}

type peerRequest struct {
	Derive []hexBytes `json:"derive"`
	Seal   []peerSeal `json:"seal"`
	Open   []peerOpen `json:"open"`
}

type peerAnswer struct {
	Derive []struct {
		Key    hexBytes `json:"key"`
		Public hexBytes `json:"public"`
	} `json:"derive"`
	Seal []hexBytes  `json:"seal"`
	Open []*hexBytes `json:"open"` // nil: did not open
}

// peer runs the implementation in testdata/peers/hpke.mjs once.
func peer(t *testing.T, request peerRequest) peerAnswer {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node.js is not installed; install it and run `make test`")
	}
	peers := filepath.Join("..", "testdata", "peers")
	for _, name := range []string{"ciphers", "curves", "hashes"} {
		if _, err := os.Stat(filepath.Join(peers, "node_modules", "@noble", name)); err != nil {
			t.Fatalf("npm package @noble/%s is not installed; run `make test`", name)
		}
	}
	input, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	command := exec.Command(node, filepath.Join(peers, "hpke.mjs"))
	command.Stdin = bytes.NewReader(input)
	command.Stderr = &complaint
	output, err := command.Output()
	if err != nil {
		t.Fatalf("peer: %v\n%s", err, complaint.Bytes())
	}
	var answer peerAnswer
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Derive) != len(request.Derive) || len(answer.Seal) != len(request.Seal) || len(answer.Open) != len(request.Open) {
		t.Fatal("the peer left questions unanswered")
	}
	return answer
}

func TestInteropNode(t *testing.T) {
	var request peerRequest
	var keys []*PrivateKey
	for _, size := range []struct{ info, aad, plaintext int }{
		{0, 0, 0}, {0, 0, 1}, {1, 0, 32}, {0, 1, 64}, {100, 50, 15}, {100, 50, 16}, {100, 50, 17}, {300, 0, 5000},
	} {
		key := newKey(t)
		s := peerSeal{
			To: key.PublicKey().Bytes(), Ikm: random(32), Info: random(size.info), Aad: random(size.aad), Plaintext: random(size.plaintext),
		}
		keys = append(keys, key)
		request.Derive = append(request.Derive, s.Ikm)
		request.Seal = append(request.Seal, s)
		request.Open = append(request.Open, peerOpen{key.Bytes(), s.Info, s.Aad, seal(t, key.PublicKey(), s.Info, s.Aad, s.Plaintext)})
	}
	// One more that must not open: the peer does check the tag.
	changed := request.Open[4]
	changed.Sealed = bytes.Clone(changed.Sealed)
	changed.Sealed[len(changed.Sealed)-1] ^= 1
	request.Open = append(request.Open, changed)

	answer := peer(t, request)
	for i, s := range request.Seal {
		derived, err := DeriveKeyPair(s.Ikm)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "private key of the peer", answer.Derive[i].Key, derived.Bytes())
		equal(t, "public key of the peer", answer.Derive[i].Public, derived.PublicKey().Bytes())

		opened, err := Open(keys[i], s.Info, s.Aad, answer.Seal[i])
		if err != nil {
			t.Fatalf("case %d: the peer's message: %v", i, err)
		}
		equal(t, "plaintext of the peer's message", opened, s.Plaintext)

		same, err := Seal(bytes.NewReader(s.Ikm), keys[i].PublicKey(), s.Info, s.Aad, s.Plaintext)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "message with the peer's ephemeral key", same, answer.Seal[i])

		if answer.Open[i] == nil {
			t.Fatalf("case %d: the peer does not open our message", i)
		}
		equal(t, "plaintext that the peer opened", *answer.Open[i], s.Plaintext)
	}
	if last := answer.Open[len(answer.Open)-1]; last != nil {
		t.Errorf("the peer opened a changed message: %x", *last)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
