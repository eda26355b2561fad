package demo

import (
	"fmt"
	"os"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/interchange"
)

// ownersItems returns the secrets that the owner starts with.
func ownersItems(export string, slots int) ([]interchange.Item, error) {
	if export == "" {
		if slots == 0 {
			slots = DefaultSlots
		}
		if slots < 1 {
			return nil, fmt.Errorf("%d secrets are too few; the demo needs one at least", slots)
		}
		return madeUp(slots), nil
	}
	f, err := os.Open(export)
	if err != nil {
		return nil, fmt.Errorf("open the export: %w", err)
	}
	defer f.Close()
	items, err := interchange.ReadBitwarden(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", export, err)
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%s has no items; the demo needs one at least", export)
	}
	return items, nil
}

// madeUp returns n secrets, of every kind in turn.
func madeUp(n int) []interchange.Item {
	makers := []func(i int) interchange.Item{login, note, card, identity, sshKey}
	items := make([]interchange.Item, n)
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range items {
		items[i] = makers[i%len(makers)](i + 1)
		items[i].Metadata.Created = created.Add(time.Duration(i) * time.Hour).UnixMilli()
		items[i].Metadata.Revised = items[i].Metadata.Created
	}
	return items
}

func login(i int) interchange.Item {
	return interchange.Item{
		Metadata: &recordv1.SlotMetadata{
			Kind: recordv1.SlotMetadata_KIND_LOGIN, Title: fmt.Sprintf("service%d.example", i), UserName: "ada",
			Uris: []*recordv1.Uri{{Uri: fmt.Sprintf("https://service%d.example/login", i)}}, Folder: "Everyday",
		},
		Secret: &recordv1.Secret{
			Kind: &recordv1.Secret_Login{Login: &recordv1.Login{
				Password: fmt.Sprintf("correct-horse-%04d-battery-staple", i), Totp: "JBSWY3DPEHPK3PXP",
			}},
			PasswordHistory: []*recordv1.PastPassword{{Password: fmt.Sprintf("old-password-%04d", i), LastUsed: "2025-05-01T08:00:00.000Z"}},
		},
	}
}

func note(i int) interchange.Item {
	return interchange.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: fmt.Sprintf("Recovery codes %d", i), Folder: "恢复代码"},
		Secret: &recordv1.Secret{
			Notes: fmt.Sprintf("8f2c-%04d-11aa\n9d0e-%04d-22bb\n", i, i),
			Kind:  &recordv1.Secret_Note{Note: &recordv1.Note{}},
		},
	}
}

func card(i int) interchange.Item {
	return interchange.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_CARD, Title: fmt.Sprintf("Card %d", i), Favorite: true},
		Secret: &recordv1.Secret{Kind: &recordv1.Secret_Card{Card: &recordv1.Card{
			Holder: "Ada", Brand: "Visa", Number: fmt.Sprintf("41111111%08d", i), ExpiryMonth: "4", ExpiryYear: "2031", Code: fmt.Sprintf("%03d", i%1000),
		}}},
	}
}

func identity(i int) interchange.Item {
	return interchange.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_IDENTITY, Title: fmt.Sprintf("Identity %d", i)},
		Secret: &recordv1.Secret{
			Fields: []*recordv1.Field{{Type: recordv1.Field_TYPE_HIDDEN, Name: "Tax number", Value: fmt.Sprintf("12/345/%05d", i)}},
			Kind: &recordv1.Secret_Identity{Identity: &recordv1.Identity{
				FirstName: "Ada", LastName: "Löwe", City: "Zürich", PassportNumber: fmt.Sprintf("C01X%05d", i),
			}},
		},
	}
}

func sshKey(i int) interchange.Item {
	return interchange.Item{
		Metadata: &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_SSH_KEY, Title: fmt.Sprintf("SSH key %d", i), Folder: "Work/Servers"},
		Secret: &recordv1.Secret{Kind: &recordv1.Secret_SshKey{SshKey: &recordv1.SshKey{
			PrivateKey:  fmt.Sprintf("-----BEGIN OPENSSH PRIVATE KEY-----\nmade-up-%04d\n-----END OPENSSH PRIVATE KEY-----\n", i),
			PublicKey:   fmt.Sprintf("ssh-ed25519 MADEUP%04d ada@laptop", i),
			Fingerprint: fmt.Sprintf("SHA256:madeup%04d", i),
		}}},
	}
}
