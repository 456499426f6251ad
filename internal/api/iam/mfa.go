package iam

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"net/url"
	"slices"
	"strings"

	"github.com/pquerna/otp"

	"sekisho/internal/api"
	"sekisho/internal/iam/authz"
	"sekisho/internal/iam/identity"
	"sekisho/internal/wire/awsproto"
)

func (d deviceDoor) operations() map[string]api.Operation {
	return map[string]api.Operation{
		"CreateVirtualMFADevice": api.Write(d.createVirtualMFADevice),
		"DeleteVirtualMFADevice": api.Write(d.deleteVirtualMFADevice),
		"ListVirtualMFADevices":  api.Read(d.listVirtualMFADevices),
		"EnableMFADevice":        api.Write(d.enableMFADevice),
		"ResyncMFADevice":        api.Write(d.resyncMFADevice),
		"DeactivateMFADevice":    api.Write(d.deactivateMFADevice),
		"ListMFADevices":         api.Read(d.listMFADevices),
		"GetMFADevice":           api.Read(d.getMFADevice),
		"TagMFADevice":           api.Write(d.tagMFADevice),
		"UntagMFADevice":         api.Write(d.untagMFADevice),
		"ListMFADeviceTags":      api.Read(d.listMFADeviceTags),
	}
}

type createDeviceRequest struct {
	Path, VirtualMFADeviceName string
	Tags                       []tag
}

type virtualDevice struct {
	SerialNumber     string
	Base32StringSeed string          `xml:",omitempty"` // base64 of the seed's base32 text
	QRCodePNG        string          `xml:",omitempty"` // base64
	User             *user           `xml:",omitempty"`
	EnableDate       *awsproto.Epoch `xml:",omitempty"`
	Tags             *list[tag]      `xml:",omitempty"`
}

type deviceAnswer struct{ VirtualMFADevice virtualDevice }

func (d deviceDoor) createVirtualMFADevice(
	ctx context.Context,
	c *api.Call,
	in *createDeviceRequest,
) (*deviceAnswer, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := c.Authorize(ctx, action(c), arn(c, identity.KindMFADevice, in.Path, in.VirtualMFADeviceName),
		authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	m, err := d.MFA.Create(ctx, in.Path, in.VirtualMFADeviceName, tags)
	if err != nil {
		return nil, err
	}
	picture, err := qrCode(c.Account, m)
	if err != nil {
		return nil, err
	}
	c.Annotate(map[string]any{"virtualMFADevice": map[string]any{"serialNumber": m.Serial}})
	return &deviceAnswer{virtualDevice{
		SerialNumber: m.Serial, Base32StringSeed: base64Text([]byte(m.Seed)), QRCodePNG: base64Text(picture),
		Tags: tagList(m.Tags),
	}}, nil
}

// qrCode returns the QR code, a PNG, that an authenticator app scans.
func qrCode(account string, m *identity.NewMFADevice) ([]byte, error) {
	label := url.PathEscape("Sekisho:" + m.Name + "@" + account)
	key, err := otp.NewKeyFromURL(fmt.Sprintf("otpauth://totp/%s?secret=%s&issuer=Sekisho", label, m.Seed))
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	img, err := key.Image(256, 256)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	return b.Bytes(), nil
}

type deviceRequest struct {
	UserName, SerialNumber                   string
	AuthenticationCode1, AuthenticationCode2 string
	Tags                                     []tag
	TagKeys                                  []string
	paging
}

// device authorizes the call on a device.
func (d deviceDoor) device(
	ctx context.Context,
	c *api.Call,
	serial string,
	keys ...authz.Key,
) (*identity.MFADevice, *identity.User, error) {
	if err := require("serialNumber", serial); err != nil {
		return nil, nil, err
	}
	m, u, err := d.MFA.Get(ctx, serial)
	if err := lookupError(ctx, c, err, serial, keys...); err != nil {
		return nil, nil, err
	}
	return m, u, on(ctx, c, m.Serial, m.Tags, keys...)
}

func (d deviceDoor) deleteVirtualMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*struct{}, error) {
	if _, _, err := d.device(ctx, c, in.SerialNumber); err != nil {
		return nil, err
	}
	return nil, d.MFA.Delete(ctx, in.SerialNumber)
}

type listDevicesRequest struct {
	AssignmentStatus string
	paging
}

type virtualDevicesAnswer struct {
	VirtualMFADevices list[virtualDevice]
	more
}

func (d deviceDoor) listVirtualMFADevices(
	ctx context.Context,
	c *api.Call,
	in *listDevicesRequest,
) (*virtualDevicesAnswer, error) {
	if in.AssignmentStatus != "" {
		v := awsproto.Constraints{Code: "ValidationError"}
		v.Enum("assignmentStatus", in.AssignmentStatus, "Any", "Assigned", "Unassigned")
		if err := v.Err(); err != nil {
			return nil, err
		}
	}
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	all, err := d.MFA.List(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m *identity.MFADevice) bool {
		return in.AssignmentStatus == "Assigned" && m.UserID == "" ||
			in.AssignmentStatus == "Unassigned" && m.UserID != ""
	})
	all, next, err := page(all, func(m *identity.MFADevice) string { return strings.ToLower(m.Name) }, in.paging)
	if err != nil {
		return nil, err
	}
	out := &virtualDevicesAnswer{more: next}
	for _, m := range all {
		s := virtualDevice{SerialNumber: m.Serial, EnableDate: date(m.Enabled)}
		if m.UserID != "" {
			u, err := d.Users.ByID(ctx, m.UserID)
			if err != nil {
				return nil, err
			}
			shape := userShape(u)
			s.User = &shape
		}
		out.VirtualMFADevices.Member = append(out.VirtualMFADevices.Member, s)
	}
	return out, nil
}

// user authorizes the call on the user it names.
func (d deviceDoor) deviceUser(ctx context.Context, c *api.Call, in *deviceRequest) error {
	if err := require("serialNumber", in.SerialNumber); err != nil {
		return err
	}
	if err := require("userName", in.UserName); err != nil {
		return err
	}
	_, err := d.holder(ctx, c, identity.KindUser, in.UserName)
	return err
}

func (d deviceDoor) enableMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*struct{}, error) {
	if err := d.deviceUser(ctx, c, in); err != nil {
		return nil, err
	}
	return nil, d.MFA.Enable(ctx, in.UserName, in.SerialNumber, in.AuthenticationCode1, in.AuthenticationCode2)
}

func (d deviceDoor) resyncMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*struct{}, error) {
	if err := d.deviceUser(ctx, c, in); err != nil {
		return nil, err
	}
	return nil, d.MFA.Resync(ctx, in.UserName, in.SerialNumber, in.AuthenticationCode1, in.AuthenticationCode2)
}

func (d deviceDoor) deactivateMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*struct{}, error) {
	if err := d.deviceUser(ctx, c, in); err != nil {
		return nil, err
	}
	if strings.Contains(in.SerialNumber, ":u2f/") {
		return nil, d.Passkeys.Delete(ctx, in.UserName, in.SerialNumber)
	}
	return nil, d.MFA.Deactivate(ctx, in.UserName, in.SerialNumber)
}

type mfaDevice struct {
	UserName     string
	SerialNumber string
	EnableDate   *awsproto.Epoch
}

type devicesAnswer struct {
	MFADevices list[mfaDevice]
	more
}

func (d deviceDoor) listMFADevices(ctx context.Context, c *api.Call, in *userListRequest) (*devicesAnswer, error) {
	u, err := d.owner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	var all []mfaDevice
	for _, serial := range u.MFA {
		m, _, err := d.MFA.Get(ctx, serial)
		if err != nil {
			return nil, err
		}
		all = append(all, mfaDevice{u.Name, m.Serial, date(m.Enabled)})
	}
	passkeys, err := d.Passkeys.Of(ctx, u.Name)
	if err != nil {
		return nil, err
	}
	for _, k := range passkeys {
		all = append(all, mfaDevice{u.Name, k.Serial, date(k.Created)})
	}
	serial := func(m mfaDevice) string { return m.SerialNumber }
	slices.SortFunc(all, func(a, b mfaDevice) int { return strings.Compare(serial(a), serial(b)) })
	all, next, err := page(all, serial, in.paging)
	if err != nil {
		return nil, err
	}
	return &devicesAnswer{list[mfaDevice]{all}, next}, nil
}

type getDeviceAnswer struct {
	UserName     string `xml:",omitempty"`
	SerialNumber string
	EnableDate   *awsproto.Epoch `xml:",omitempty"`
}

func (d deviceDoor) getMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*getDeviceAnswer, error) {
	m, u, err := d.device(ctx, c, in.SerialNumber)
	if err != nil {
		return nil, err
	}
	out := &getDeviceAnswer{SerialNumber: m.Serial, EnableDate: date(m.Enabled)}
	if u != nil {
		out.UserName = u.Name
	}
	return out, nil
}

func (d deviceDoor) tagMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*struct{}, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if _, _, err := d.device(ctx, c, in.SerialNumber, authz.RequestTags(tags)...); err != nil {
		return nil, err
	}
	return nil, d.Tags.Add(ctx, identity.KindMFADevice, in.SerialNumber, tags)
}

func (d deviceDoor) untagMFADevice(ctx context.Context, c *api.Call, in *deviceRequest) (*struct{}, error) {
	if _, _, err := d.device(ctx, c, in.SerialNumber, authz.Many("aws:TagKeys", in.TagKeys)); err != nil {
		return nil, err
	}
	return nil, d.Tags.Remove(ctx, identity.KindMFADevice, in.SerialNumber, in.TagKeys)
}

func (d deviceDoor) listMFADeviceTags(ctx context.Context, c *api.Call, in *deviceRequest) (*tagsAnswer, error) {
	m, _, err := d.device(ctx, c, in.SerialNumber)
	if err != nil {
		return nil, err
	}
	return tagPage(m.Tags, in.paging)
}
