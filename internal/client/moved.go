package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Why a server is not where it is said to be.
var (
	// ErrOtherServer: what answers there has other keys than those that are pinned.
	ErrOtherServer = errors.New("another server answers there")
	// ErrLoop: the server says that it has moved, again and again.
	ErrLoop = errors.New("the server is sent from one address to the next and is at none")
	// ErrDowngrade: the server says that it has moved from https to http.
	ErrDowngrade = errors.New("what is asked there could be read on the way")
)

// maxMoves is how often a server may have moved since a device asked last.
const maxMoves = 8

// Locate returns where the pinned server is that is said to be at an address now:
// there, or where it says itself that it has moved to from there. It has proved its
// keys at what Locate returns, and at each address on the way.
//
// from is the address at which the server said so, empty if a person did: a server
// may send nobody back to where he was, or from https to http.
//
// Errors wrap [ErrURL], [ErrOtherServer], [ErrLoop], [ErrDowngrade],
// [ErrUnreachable] or [ErrDishonest].
func Locate(ctx context.Context, h *http.Client, from, to string, pinned *recordv1.Server, rand io.Reader) (string, error) {
	been := map[string]bool{}
	if from != "" {
		been[bare(from)] = true
	}
	for range maxMoves {
		to = bare(to)
		switch {
		case been[to]:
			return "", fmt.Errorf("%s: %w", to, ErrLoop)
		case isHTTPS(from) && !isHTTPS(to):
			return "", fmt.Errorf("%s: %w", to, ErrDowngrade)
		}
		been[to] = true
		server, movedTo, err := identify(ctx, h, to, rand)
		if err != nil {
			return "", err
		}
		if !bytes.Equal(server.SignKey, pinned.GetSignKey()) || !bytes.Equal(server.SealKey, pinned.GetSealKey()) {
			return "", fmt.Errorf("%s: %w", to, ErrOtherServer)
		}
		if movedTo == "" {
			return to, nil
		}
		from, to = to, movedTo
	}
	return "", fmt.Errorf("%s: %w", to, ErrLoop)
}

// isHTTPS says whether an address is, whatever case its scheme is written in.
func isHTTPS(address string) bool {
	scheme, _, _ := strings.Cut(address, ":")
	return strings.EqualFold(scheme, "https")
}
