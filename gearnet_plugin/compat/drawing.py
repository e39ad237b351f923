"""Molecules on matplotlib axes, by what RDKit draws with today."""
import io


def draw_molecule(mol, ax=None, kekulize=True, **unused):
    """
    Draw a molecule on matplotlib axes; in place of ``MolToMPL`` of TorchDrug, whose RDKit classes are gone.

    Parameters:
        mol (rdkit.Chem.Mol): molecule
        ax (matplotlib.axes.Axes, optional): where to draw; a new figure by default
        kekulize (bool, optional): draw aromatic rings with alternating bonds

    Returns:
        matplotlib.figure.Figure: the figure of the axes
    """
    from matplotlib import pyplot as plt
    from rdkit.Chem.Draw import rdMolDraw2D

    if not mol:
        raise ValueError("Null molecule provided")
    if ax is None:
        ax = plt.figure(figsize=(3, 3)).add_axes([0, 0, 1, 1])
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    # 300 dots per inch, sharp also in print
    drawer = rdMolDraw2D.MolDraw2DCairo(max(int(box.width * 300), 50), max(int(box.height * 300), 50))
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol, kekulize=kekulize)
    drawer.FinishDrawing()
    ax.imshow(plt.imread(io.BytesIO(drawer.GetDrawingText()), format="png"))
    ax.set_axis_off()
    return ax.figure
