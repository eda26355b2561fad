package slip39_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"zeropass.dev/zeropass/slip39"
)

type peerSplit struct {
	Secret     string   `json:"secret"`
	Passphrase string   `json:"passphrase"`
	Extendable bool     `json:"extendable"`
	Exponent   int      `json:"exponent"`
	Threshold  int      `json:"threshold"`
	Groups     [][2]int `json:"groups"`
}

type peerCombine struct {
	Mnemonics  []string `json:"mnemonics"`
	Passphrase string   `json:"passphrase"`
}

type peerRequests struct {
	Split   []peerSplit   `json:"split"`
	Combine []peerCombine `json:"combine"`
}

type peerAnswers struct {
	Split []struct {
		Groups [][]string `json:"groups"`
	} `json:"split"`
	Combine []struct {
		Secret string `json:"secret"`
		Error  string `json:"error"`
	} `json:"combine"`
}

// askPeer runs the other implementation once for all requests.
func askPeer(t *testing.T, requests peerRequests) (answers peerAnswers) {
	t.Helper()
	in, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "../testdata/peers/slip39.mjs")
	cmd.Stdin = bytes.NewReader(in)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the npm package slip39 did not run: %v\n%s\nrun `make test`, which installs what the tests need", err, stderr.String())
	}
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// interopCases cover both values of the flag, lengths without official vectors,
// and ZeroPass's own layout, with and without a printed sheet.
var interopCases = []peerSplit{
	{Secret: secretOf(64), Extendable: true, Threshold: 2, Groups: [][2]int{{1, 1}, {1, 1}, {2, 3}}},
	{Secret: secretOf(64), Extendable: true, Threshold: 2, Groups: [][2]int{{1, 1}, {1, 1}, {2, 3}, {1, 1}}},
	{Secret: secretOf(64), Extendable: true, Threshold: 2, Groups: [][2]int{{1, 1}, {1, 1}, {16, 16}}},
	{Secret: secretOf(64), Extendable: false, Threshold: 2, Groups: [][2]int{{1, 1}, {1, 1}, {3, 5}}, Passphrase: "correct horse"},
	{Secret: secretOf(64), Extendable: true, Exponent: 1, Threshold: 1, Groups: [][2]int{{1, 1}}, Passphrase: "~ !"},
	{Secret: secretOf(16), Extendable: true, Threshold: 1, Groups: [][2]int{{3, 5}}},
	{Secret: secretOf(22), Extendable: true, Threshold: 3, Groups: [][2]int{{2, 2}, {1, 1}, {1, 1}, {2, 4}}},
	{Secret: secretOf(32), Extendable: false, Exponent: 2, Threshold: 2, Groups: [][2]int{{2, 3}, {3, 3}}},
}

// secretOf returns n bytes in hexadecimal, starting with a zero byte, which careless
// big-number code loses.
func secretOf(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 83)
	}
	return hex.EncodeToString(b)
}

func TestInterchangeWithNPM(t *testing.T) {
	requests := peerRequests{Split: interopCases}
	for _, c := range interopCases {
		for choice := range len(c.Groups) {
			requests.Combine = append(requests.Combine, peerCombine{choose(mnemonics(splitHere(t, c)), c, choice), c.Passphrase})
		}
	}
	answers := askPeer(t, requests)

	next := 0
	for i, c := range interopCases {
		for choice := range len(c.Groups) {
			t.Run(fmt.Sprintf("case %d choice %d", i, choice), func(t *testing.T) {
				theirs := answers.Combine[next]
				next++
				if theirs.Error != "" || theirs.Secret != c.Secret {
					t.Errorf("the peer combined our shares to %q, error %q", theirs.Secret, theirs.Error)
				}
				checkPeerShares(t, answers.Split[i].Groups, c, choice)
			})
		}
	}
}

// checkPeerShares combines the peer's shares with our code.
func checkPeerShares(t *testing.T, groups [][]string, c peerSplit, choice int) {
	chosen := choose(groups, c, choice)
	for _, m := range chosen {
		share, err := slip39.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		if share.Extendable() != c.Extendable || share.IterationExponent() != c.Exponent ||
			share.GroupThreshold() != c.Threshold || share.GroupCount() != len(c.Groups) {
			t.Errorf("parameters of the peer's share are not those asked for: %+v", c)
		}
	}
	got, err := combineMnemonics(t, chosen, c.Passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != c.Secret {
		t.Errorf("we combined the peer's shares to %x", got)
	}
}

func splitHere(t *testing.T, c peerSplit) [][]*slip39.Share {
	t.Helper()
	secret, err := hex.DecodeString(c.Secret)
	if err != nil {
		t.Fatal(err)
	}
	id, err := slip39.NewIdentifier(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := slip39.Params{Identifier: id, Extendable: c.Extendable, IterationExponent: c.Exponent, GroupThreshold: c.Threshold}
	for _, g := range c.Groups {
		p.Groups = append(p.Groups, slip39.Group{Threshold: g[0], Count: g[1]})
	}
	shares, err := slip39.Split(rand.Reader, secret, []byte(c.Passphrase), p)
	if err != nil {
		t.Fatal(err)
	}
	return shares
}

func mnemonics(shares [][]*slip39.Share) [][]string {
	groups := make([][]string, len(shares))
	for g, members := range shares {
		for _, s := range members {
			groups[g] = append(groups[g], s.Mnemonic())
		}
	}
	return groups
}

// choose picks exactly the threshold of groups, from group number choice on, and
// the threshold of members of each, from member number choice on.
func choose(groups [][]string, c peerSplit, choice int) []string {
	var chosen []string
	for i := range c.Threshold {
		g := (choice + i) % len(groups)
		for j := range c.Groups[g][0] {
			chosen = append(chosen, groups[g][(choice+j)%len(groups[g])])
		}
	}
	return chosen
}
