# SPDX-License-Identifier: Apache-2.0
"""`jahp batch`: folders of images to folders of .jahp files and back."""
