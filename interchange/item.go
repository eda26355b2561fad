// Package interchange reads and writes the files of other password managers.
//
// [ReadBitwarden] and [WriteBitwarden] take Bitwarden's unencrypted .json
// export, and lose nothing of an item: what is read and written again has the
// same members with the same values, also those that ZeroPass has no field for,
// also where a member is null, empty or absent. [WriteText] writes everything
// down for a person to read.
//
// Title, user name, addresses, folder, favourite mark and dates of an item go to
// its metadata, which an unlocked device shows; everything else goes to its
// secret, which only a reveal shows. What the secret has no field for stands in
// Secret.Rest and Field.Rest, JSON texts whose form is described at the type
// node. They belong to this package. Who edits an item leaves them as they are:
// they say how the imported values were spelled, and are passed over where the
// value has become another.
//
// A folder, or an organization's collection, lives in the items that are in it.
// An empty one has no slot to live in and is not imported.
package interchange

import (
	"fmt"
	"io"
	"log/slog"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// Item is what one slot holds. Printed or marshalled to JSON it says [secret];
// its two parts, which are plain messages, do not.
type Item struct {
	Metadata *recordv1.SlotMetadata
	Secret   *recordv1.Secret
}

const redacted = "[secret]"

// String says [secret].
func (Item) String() string { return redacted }

// GoString says [secret].
func (Item) GoString() string { return redacted }

// Format says [secret], whatever the verb.
func (Item) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue says [secret].
func (Item) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON says "[secret]".
func (Item) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
